import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../platform/errors.js';
import type { Follower } from '../streams/topic-tail.js';
import type { StreamRecord } from '../streams/records.js';
import type { Streams } from '../streams/streams.js';
import type { TransactionalProducer } from '../streams/transactional-producer.js';
import type { LogRecord, RegistryLog } from '../embedded/schema-registry/log.js';

/** Not `_schemas`, which another registry on an external Kafka may use, such as Redpanda's. */
const schemasTopic = 'millrace.schemas';
const appendHeader = 'millrace-append';
const readMs = 30_000;

/**
 * Stores the log of an embedded registry in a compacted Kafka topic. Only the process that opened it last may
 * append. All processes read what is appended: two registries on one Kafka both serve lookups, but only the
 * second registers.
 */
export class TopicLog implements RegistryLog {
  readonly #streams: Streams;
  readonly #topic: string;
  #producer: TransactionalProducer | undefined;
  #follower: Follower | undefined;
  #takenOver: MillraceError | undefined;
  /** Callbacks by append id, called when its records have been read back. */
  readonly #appending = new Map<string, () => void>();

  constructor(streams: Streams, topic = schemasTopic) {
    this.#streams = streams;
    this.#topic = topic;
  }

  /** @throws MillraceError as {@link Streams.createTopics}, {@link TransactionalProducer.commit}. */
  async *read(later: (record: LogRecord) => void): AsyncIterable<LogRecord> {
    await this.close();
    await this.#streams.createTopics([
      { name: this.#topic, partitions: 1, config: { 'cleanup.policy': 'compact' } },
    ]);
    // Opens the producer first, which aborts an open transaction of the last owner. Nothing can be added
    // before the read end.
    this.#producer = await this.#takeOver();
    const first: LogRecord[] = [];
    let take = (record: LogRecord): void => void first.push(record);
    const handle = (records: StreamRecord[]): void => {
      for (const record of records) {
        take(record);
        this.#appending.get(record.headers[appendHeader]?.toString() ?? '')?.();
      }
    };
    this.#follower = await this.#streams.follow({ topics: [this.#topic], handle });
    await this.#follower.whenCaughtUp({ timeoutMs: readMs });
    take = later;
    yield* first;
  }

  /**
   * Resolves when the records are on the topic and have been read back by this process.
   *
   * @throws MillraceError `REGISTRY_TAKEN_OVER` if another process has opened the log since,
   *   `REGISTRY_UNSETTLED` (retriable) after an append with an unknown outcome; as
   *   {@link TransactionalProducer.commit}.
   */
  async append(records: readonly { key: Buffer; value: Buffer | null }[]): Promise<void> {
    if (this.#takenOver !== undefined) throw this.#takenOver;
    const producer = this.#producer;
    if (producer === undefined) {
      await this.#reopen();
      throw unsettled();
    }
    const id = randomUUID();
    const topic = this.#topic;
    const readBack = new Promise<void>((resolve) => this.#appending.set(id, resolve));
    try {
      const headers = { [appendHeader]: id };
      await producer.commit(records.map(({ key, value }) => ({ topic, key, value, headers })));
      await Promise.race([readBack, sleep(readMs, undefined, { ref: false }).then(() => throwUnsettled())]);
    } catch (error) {
      this.#producer = undefined;
      await producer.close();
      if (isFenced(error)) throw (this.#takenOver = takenOver(error));
      await this.#reopen().catch(() => undefined);
      throw error;
    } finally {
      this.#appending.delete(id);
    }
  }

  async close(): Promise<void> {
    await this.#follower?.stop();
    await this.#producer?.close();
    this.#producer = undefined;
  }

  /** A failed append may still be on the log. Determines its outcome before the next decision. */
  async #reopen(): Promise<void> {
    const producer = await this.#takeOver();
    try {
      await this.#follower?.whenCaughtUp({ timeoutMs: readMs });
      this.#producer = producer;
    } catch (error) {
      await producer.close();
      throw error;
    }
  }

  /** The transactional id is the name of the topic. */
  #takeOver(): Promise<TransactionalProducer> {
    return this.#streams.createTransactionalProducer(this.#topic);
  }
}

function isFenced(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'LOG_FENCED';
}

function takenOver(cause: unknown): MillraceError {
  return new MillraceError(
    'REGISTRY_TAKEN_OVER',
    'Another process runs an embedded schema registry on this Kafka and has taken over. This one is read-only now. Run only one, and set SCHEMA_REGISTRY_URL of the others to its address.',
    { cause },
  );
}

function unsettled(): MillraceError {
  return new MillraceError(
    'REGISTRY_UNSETTLED',
    'The log of the schema registry was unavailable. The outcome of the last write is known now. Try again.',
  );
}

function throwUnsettled(): never {
  throw unsettled();
}

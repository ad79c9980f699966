import type { Kafka, Message, Producer, TopicMessages } from 'kafkajs';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { backoff } from './backoff.js';
import { isBadRequest, isFatalForProducer, toMillraceError } from './kafka-errors.js';
import { stickyPartitioner } from './partitioner.js';
import { sizeOf, toMessage } from './records.js';
import type { NewRecord, RecordPosition } from './records.js';

export interface SendOptions {
  /** Give up when this aborts. */
  signal?: AbortSignal;
  /** Give up after so many milliseconds. Default: never. */
  timeoutMs?: number;
}

/** Writes records to the log, each acknowledged by all in-sync replicas. */
export interface LogProducer {
  /**
   * Resolves with the position of each record, in the order given, once all are acknowledged. Calls that come while
   * a request is under way are sent together in the next one, in order; an outage of the brokers is waited out.
   *
   * @throws MillraceError, retriable: `LOG_BUSY` (too many records wait already, nothing was written),
   *   `LOG_TIMEOUT` (signal or time limit: records may still be written, so try again with the same event ids),
   *   `LOG_CLOSED`. Not retriable: `RECORD_TOO_LARGE`, `LOG_REFUSED`, `LOG_UNAUTHORIZED`.
   */
  send(records: readonly NewRecord[], options?: SendOptions): Promise<RecordPosition[]>;
  /** Sends what waits (for `drainMs` at most, default 10 s), rejects the rest as `LOG_CLOSED`, and disconnects. */
  close(options?: { drainMs?: number }): Promise<void>;
}

/** One call of `send`. */
interface Call {
  positions: RecordPosition[];
  unacknowledged: number;
  settled: boolean;
  resolve: (positions: RecordPosition[]) => void;
  reject: (error: MillraceError) => void;
}

/** One record that waits; `message` keeps the partition once it is chosen. */
interface Entry {
  topic: string;
  message: Message;
  size: number;
  call: Call;
  index: number;
}

/** kafkajs' cost per request grows faster than its size; brokers refuse a batch over 1 MiB. */
export const maxRecordsPerRequest = 1_000;
export const maxBytesPerRequest = 900_000;
const maxWaitingRecords = 100_000;

export class KafkaLogProducer implements LogProducer {
  readonly #kafka: Kafka;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  /** Rejects when closing can't wait any longer: kafkajs' own retries can't be stopped. */
  readonly #drainOver: Promise<never>;
  #producer: Promise<Producer> | undefined;
  #waiting: Entry[] = [];
  #working: Promise<void> | undefined;
  #accepting = true;

  constructor(kafka: Kafka, logger: Logger) {
    this.#kafka = kafka;
    this.#logger = logger;
    this.#drainOver = new Promise((_, reject) => {
      this.#closing.signal.addEventListener('abort', () => reject(closed()), { once: true });
    });
    this.#drainOver.catch(() => undefined);
  }

  send(records: readonly NewRecord[], { signal, timeoutMs }: SendOptions = {}): Promise<RecordPosition[]> {
    if (!this.#accepting) return Promise.reject(closed());
    if (records.length === 0) return Promise.resolve([]);
    if (this.#waiting.length > 0 && this.#waiting.length + records.length > maxWaitingRecords)
      return Promise.reject(
        new MillraceError(
          'LOG_BUSY',
          `${this.#waiting.length} records wait for the log already; these ${records.length} were not taken. Try again later.`,
          { retriable: true },
        ),
      );
    return new Promise((resolve, reject) => {
      const call: Call = {
        positions: Array.from({ length: records.length }),
        unacknowledged: records.length,
        settled: false,
        resolve,
        reject,
      };
      this.#limit(call, signal, timeoutMs);
      records.forEach((record, index) => {
        this.#waiting.push({
          topic: record.topic,
          message: toMessage(record),
          size: sizeOf(record),
          call,
          index,
        });
      });
      this.#working ??= this.#work();
    });
  }

  async close({ drainMs = 10_000 }: { drainMs?: number } = {}): Promise<void> {
    this.#accepting = false;
    const drainTimer = setTimeout(() => this.#closing.abort(), drainMs);
    await this.#working;
    clearTimeout(drainTimer);
    this.#closing.abort();
    await this.#discardProducer();
  }

  /** Rejects a call when its time is up; what of it has not been sent yet is left out. */
  #limit(call: Call, signal: AbortSignal | undefined, timeoutMs: number | undefined): void {
    const giveUp = (): void =>
      settle(
        call,
        new MillraceError(
          'LOG_TIMEOUT',
          'The log did not acknowledge in time. The records may still be written: try again with the same event ids.',
          { retriable: true },
        ),
      );
    const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs);
    signal?.addEventListener('abort', giveUp, { once: true });
    if (signal?.aborted) giveUp();
    const { resolve, reject } = call;
    const cleanUp = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', giveUp);
    };
    call.resolve = (positions) => {
      cleanUp();
      resolve(positions);
    };
    call.reject = (error) => {
      cleanUp();
      reject(error);
    };
  }

  async #work(): Promise<void> {
    // Calls made in the same turn of the event loop go into the first request together.
    await Promise.resolve();
    for (let chunk = this.#nextChunk(); chunk.length > 0; chunk = this.#nextChunk())
      await this.#deliver(chunk);
    this.#working = undefined;
  }

  #nextChunk(): Entry[] {
    let bytes = 0;
    let taken = 0;
    const chunk: Entry[] = [];
    for (const entry of this.#waiting) {
      if (
        chunk.length === maxRecordsPerRequest ||
        (chunk.length > 0 && bytes + entry.size > maxBytesPerRequest)
      )
        break;
      taken++;
      if (entry.call.settled) continue;
      chunk.push(entry);
      bytes += entry.size;
    }
    this.#waiting = this.#waiting.slice(taken);
    return chunk;
  }

  /**
   * Sends one chunk until it is acknowledged or refused. Nothing else is sent by this producer meanwhile, and the
   * chunk keeps its composition: kafkajs reuses a failed request's sequence numbers, and the broker would take
   * another request with the same numbers for a repetition and drop it.
   */
  async #deliver(chunk: Entry[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      if (this.#closing.signal.aborted) {
        for (const { call } of chunk) settle(call, closed());
        return;
      }
      try {
        const sending = this.#connected().then((producer) =>
          producer.sendBatch({ acks: -1, topicMessages: byTopic(chunk) }),
        );
        acknowledge(chunk, await Promise.race([sending, this.#drainOver]));
        return;
      } catch (error) {
        if (this.#closing.signal.aborted) continue;
        if (isBadRequest(error)) {
          await this.#isolate(chunk, error);
          return;
        }
        if (isFatalForProducer(error)) await this.#discardProducer();
        this.#logger.warn(
          { attempt, records: chunk.length, error: messageOf(error) },
          'Writing to the log failed; trying again',
        );
        await backoff(attempt, { signal: this.#closing.signal });
      }
    }
  }

  /**
   * Finds the record that the broker refuses. By partition first: those that the broker did write are sent again
   * exactly as they were, so that it recognises them; in the refused one nothing was written.
   */
  async #isolate(chunk: Entry[], error: unknown): Promise<void> {
    const partitions = [...groupBy(chunk, partitionOf).values()];
    if (partitions.length > 1) {
      for (const part of partitions) await this.#deliver(part);
      return;
    }
    const [first] = chunk;
    if (chunk.length === 1 && first) {
      settle(first.call, toMillraceError(error, `Writing a record of ${first.size} bytes to ${first.topic}`));
      return;
    }
    const middle = Math.ceil(chunk.length / 2);
    await this.#deliver(chunk.slice(0, middle));
    await this.#deliver(chunk.slice(middle));
  }

  #connected(): Promise<Producer> {
    this.#producer ??= this.#connect();
    return this.#producer;
  }

  async #connect(): Promise<Producer> {
    const producer = this.#kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: stickyPartitioner,
    });
    try {
      await producer.connect();
      return producer;
    } catch (error) {
      this.#producer = undefined;
      await producer.disconnect().catch(() => undefined);
      throw error;
    }
  }

  async #discardProducer(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    await producer?.then((connected) => connected.disconnect()).catch(() => undefined);
  }
}

function closed(): MillraceError {
  return new MillraceError('LOG_CLOSED', 'The producer is closed; the records were not acknowledged.', {
    retriable: true,
  });
}

function settle(call: Call, error: MillraceError): void {
  if (call.settled) return;
  call.settled = true;
  call.reject(error);
}

function partitionOf(entry: Entry): string {
  return `${entry.topic}/${entry.message.partition ?? ''}`;
}

function byTopic(chunk: Entry[]): TopicMessages[] {
  return [...groupBy(chunk, (entry) => entry.topic)].map(([topic, entries]) => ({
    topic,
    messages: entries.map((entry) => entry.message),
  }));
}

function groupBy<T>(items: T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/** The broker answers with the first offset of each partition's batch; a batch keeps the order of its records. */
function acknowledge(
  chunk: Entry[],
  answers: { topicName: string; partition: number; baseOffset?: string }[],
): void {
  const nextOffsets = new Map<string, number>();
  for (const { topicName, partition, baseOffset } of answers)
    nextOffsets.set(`${topicName}/${partition}`, Number(baseOffset));
  for (const entry of chunk) {
    const { topic, message, call, index } = entry;
    const key = partitionOf(entry);
    const offset = nextOffsets.get(key) ?? -1;
    nextOffsets.set(key, offset + 1);
    call.positions[index] = { topic, partition: message.partition ?? 0, offset };
    call.unacknowledged--;
    if (call.unacknowledged === 0 && !call.settled) {
      call.settled = true;
      call.resolve(call.positions);
    }
  }
}

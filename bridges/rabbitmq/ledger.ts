import { randomUUID } from 'node:crypto';
import { MillraceError } from '../../platform/errors.js';
import { pause } from '../../platform/backoff.js';
import type { Follower } from '../../streams/topic-tail.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';
import type { TransactionalProducer } from '../../streams/transactional-producer.js';
import { positionOf } from './redelivery.js';

/** The state of a queue on the log. */
interface LedgerState {
  /**
   * UUID of the transaction that wrote the state, in the member `commit` on the log. It tells whether a
   * transaction is committed.
   */
  transactionMarker: string;
  /** Batches whose acknowledgement RabbitMQ may have missed, oldest first: the digests of their messages. */
  unsettled: readonly (readonly string[])[];
}

/** The newest state of each queue, followed from the log. */
export interface LedgerStates {
  read(queue: string): Promise<LedgerState | undefined>;
  stop(): Promise<void>;
}

const catchUpMs = 10_000;

/** Maximum number of attempts when the log is available but refuses a transaction. */
const attempts = 3;

/** Starts to follow `millrace.rabbitmq`. */
export async function followLedgers(streams: Streams): Promise<LedgerStates> {
  const states = new Map<string, LedgerState>();
  const follower: Follower = await streams.follow({
    topics: [systemTopics.rabbitmq],
    handle: (records) => {
      for (const record of records) {
        const state = toState(record);
        if (record.key !== null && state !== undefined) states.set(record.key.toString(), state);
      }
    },
  });
  return {
    read: async (queue) => {
      await follower.whenCaughtUp({ timeoutMs: catchUpMs });
      return states.get(queue);
    },
    stop: () => follower.stop(),
  };
}

/**
 * The exclusive right to write the messages of one queue, and the record of the last batches. Both are on the
 * log and written in one transaction, so that after a crash the redelivered messages that are already on the
 * log can be recognised. Opening the ledger fences every process that had it open.
 */
export class Ledger {
  readonly #streams: Streams;
  readonly #states: LedgerStates;
  readonly #queue: string;
  readonly #signal: AbortSignal;
  #producer: TransactionalProducer | undefined;
  #transactionMarker: string | undefined;
  #unsettled: (readonly string[])[] = [];
  /** Whether the log lists batches that are settled by now. */
  #stale = false;

  private constructor(streams: Streams, states: LedgerStates, queue: string, signal: AbortSignal) {
    this.#streams = streams;
    this.#states = states;
    this.#queue = queue;
    this.#signal = signal;
  }

  /**
   * Takes over the queue.
   *
   * @param signal - aborts when this process no longer owns the queue; the takeover then ends.
   * @throws MillraceError of the log.
   */
  static async open(
    streams: Streams,
    states: LedgerStates,
    queue: string,
    signal: AbortSignal,
  ): Promise<Ledger> {
    const ledger = new Ledger(streams, states, queue, signal);
    const state = await ledger.#takeOver();
    ledger.#transactionMarker = state?.transactionMarker;
    ledger.#unsettled = [...(state?.unsettled ?? [])];
    return ledger;
  }

  get unsettled(): readonly (readonly string[])[] {
    return this.#unsettled;
  }

  /** Offset in the stream that was processed last. Unset: none, or the queue is no stream. */
  get position(): number | undefined {
    return positionOf(this.#unsettled.at(-1)?.at(-1));
  }

  /** Forgets the known batches, except redelivered messages that are on the log. */
  begin(repeats: readonly string[]): void {
    this.#stale = this.#unsettled.length > 0;
    this.#unsettled = repeats.length > 0 ? [repeats] : [];
  }

  /**
   * Writes records, and the digests of the messages that they complete. Waits while the log is unavailable.
   *
   * @throws MillraceError `LOG_FENCED` when another process owns the queue now; retriable when nothing was
   *   written although the log is available; other errors of the log.
   */
  async write(records: readonly NewRecord[], digests: readonly string[]): Promise<void> {
    const unsettled = digests.length > 0 ? this.#with(digests) : this.#unsettled;
    const transactionMarker = randomUUID();
    const value = Buffer.from(
      JSON.stringify({ commit: transactionMarker, unsettled: unsettled.map((batch) => batch.join(' ')) }),
    );
    const state = { topic: systemTopics.rabbitmq, key: this.#queue, value };
    await this.#commitCertainly([...records, state], transactionMarker);
    this.#transactionMarker = transactionMarker;
    this.#stale = false;
    if (digests.length > 0) this.#unsettled = this.#with(digests);
  }

  /** Notes messages that were completed without the log. The next `write` records them. */
  note(digests: readonly string[]): void {
    this.#unsettled = this.#with(digests);
  }

  /** Notes that RabbitMQ has the acknowledgement of this batch of digests and of all earlier ones. */
  settle(batch: readonly string[] | undefined): void {
    const index = this.#unsettled.findIndex((each) => each === batch);
    // A stream removes nothing on an acknowledgement: its last position stays.
    if (index < 0 || this.position !== undefined) return;
    this.#stale = true;
    this.#unsettled = this.#unsettled.slice(index + 1);
  }

  /** Writes the settled batches to the log. */
  async writeSettled(): Promise<void> {
    if (this.#stale) await this.write([], []);
  }

  async close(): Promise<void> {
    await this.#producer?.close();
    this.#producer = undefined;
  }

  /** For a stream, the last position is enough. */
  #with(digests: readonly string[]): (readonly string[])[] {
    return positionOf(digests.at(-1)) === undefined ? [...this.#unsettled, digests] : [digests.slice(-1)];
  }

  async #commitCertainly(records: readonly NewRecord[], transactionMarker: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        if (this.#producer === undefined) throw unavailable();
        await this.#producer.commit(records);
        return;
      } catch (error) {
        if (!(error instanceof MillraceError) || !error.retriable) throw error;
        const found = await this.#takeOverAgain();
        this.#signal.throwIfAborted();
        if (found?.transactionMarker === transactionMarker) return;
        if (found?.transactionMarker !== this.#transactionMarker)
          throw new MillraceError('LOG_FENCED', `Another process reads the queue ${this.#queue} now.`);
        if (attempt === attempts) throw error;
      }
    }
  }

  /** Resolves the unknown outcome of the last transaction once the log is available. */
  async #takeOverAgain(): Promise<LedgerState | undefined> {
    for (;;) {
      this.#signal.throwIfAborted();
      try {
        return await this.#takeOver();
      } catch (error) {
        if (!(error instanceof MillraceError) || !error.retriable) throw error;
        await pause(500, this.#signal);
      }
    }
  }

  async #takeOver(): Promise<LedgerState | undefined> {
    await this.close();
    // A ping fails quickly when the log is unavailable; a takeover retries for a long time.
    await this.#streams.ping();
    this.#signal.throwIfAborted();
    this.#producer = await this.#streams.createTransactionalProducer(`millrace-rabbitmq-${this.#queue}`);
    return this.#states.read(this.#queue);
  }
}

function unavailable(): MillraceError {
  return new MillraceError('LOG_UNAVAILABLE', 'The log is unavailable.');
}

function toState({ value }: StreamRecord): LedgerState | undefined {
  try {
    const { commit, unsettled } = JSON.parse(value?.toString() ?? '') as {
      commit: string;
      unsettled: string[];
    };
    return { transactionMarker: commit, unsettled: unsettled.map((batch) => batch.split(' ')) };
  } catch {
    return undefined;
  }
}

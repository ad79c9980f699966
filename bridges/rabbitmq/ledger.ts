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
   * A UUID of the transaction that wrote it, the member `commit` on the log: tells whether a transaction is
   * committed.
   */
  transactionMarker: string;
  /** Batches whose acknowledgement RabbitMQ may not have, oldest first: the digests of their messages. */
  unsettled: readonly (readonly string[])[];
}

/** The newest state of each queue, followed from the log. */
export interface LedgerStates {
  read(queue: string): Promise<LedgerState | undefined>;
  stop(): Promise<void>;
}

const catchUpMs = 10_000;

/** Tries of a transaction that the log, which is there, does not take. */
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
 * The right to write what comes from one queue, and the memory of what came last. Both are on the log,
 * written in one transaction, so that after a crash it is known which messages that come again are there
 * already. Opening it fences every process that had it open.
 */
export class Ledger {
  readonly #streams: Streams;
  readonly #states: LedgerStates;
  readonly #queue: string;
  readonly #signal: AbortSignal;
  #producer: TransactionalProducer | undefined;
  #transactionMarker: string | undefined;
  #unsettled: (readonly string[])[] = [];
  /** Whether the log knows of batches that are settled by now. */
  #stale = false;

  private constructor(streams: Streams, states: LedgerStates, queue: string, signal: AbortSignal) {
    this.#streams = streams;
    this.#states = states;
    this.#queue = queue;
    this.#signal = signal;
  }

  /**
   * @param signal - aborts when the queue is no longer this process' own: then nothing is taken over any
   *   more.
   * @throws MillraceError as the log does.
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

  /** Offset in the stream that was dealt with last. Unset: none, or the queue is no stream. */
  get position(): number | undefined {
    return positionOf(this.#unsettled.at(-1)?.at(-1));
  }

  /** Forgets what was known, but for messages that came again and are on the log. */
  begin(repeats: readonly string[]): void {
    this.#stale = this.#unsettled.length > 0;
    this.#unsettled = repeats.length > 0 ? [repeats] : [];
  }

  /**
   * Writes records, and that the messages with these digests are dealt with. Waits while the log is
   * unavailable.
   *
   * @throws MillraceError `LOG_FENCED` when someone else owns the queue now; retriable when nothing was
   *   written although the log is there; others as the log does.
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

  /** Messages that are dealt with elsewhere than on the log. The next `write` puts that on it. */
  note(digests: readonly string[]): void {
    this.#unsettled = this.#with(digests);
  }

  /** RabbitMQ has the acknowledgement of this batch of digests and of all before it. */
  settle(batch: readonly string[] | undefined): void {
    const index = this.#unsettled.findIndex((each) => each === batch);
    // A stream takes nothing out for an acknowledgement: its last position stays.
    if (index < 0 || this.position !== undefined) return;
    this.#stale = true;
    this.#unsettled = this.#unsettled.slice(index + 1);
  }

  /** Brings the log up to date with what is settled. */
  async writeSettled(): Promise<void> {
    if (this.#stale) await this.write([], []);
  }

  async close(): Promise<void> {
    await this.#producer?.close();
    this.#producer = undefined;
  }

  /** Of a stream the last position says all. */
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

  /** The outcome of the last transaction is unknown: once the log is back it is not. */
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
    // A ping fails soon when the log is unavailable; taking over retries for long.
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

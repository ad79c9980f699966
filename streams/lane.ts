import type { ProducerId } from './log-brokers.js';
import type { Entry } from './send-call.js';

/** Remaining capacity of a request. */
export interface Room {
  records: number;
  bytes: number;
}

/**
 * The records waiting for one partition, in order, and the partition's sequence numbers. At most one batch of
 * it is in flight.
 *
 * A batch that the broker may have written keeps its records and its sequence numbers until its outcome is
 * known: the broker recognises a repetition by its numbers. A batch that was certainly not written is split
 * again, so that abandoned records are left out.
 */
export class Lane {
  readonly topic: string;
  readonly partition: number;
  /** Consecutive failures. */
  failures = 0;
  /** Whether nothing of it is in flight, and it does not pause after a failure. */
  isAtRest = true;
  #producer: ProducerId | undefined;
  #sequence = 0;
  #queue: Entry[] = [];
  /** Batches to send next, unchanged. */
  #batches: Entry[][] = [];
  /** Whether the first of these may be written already. */
  #isUncertain = false;

  constructor(topic: string, partition: number) {
    this.topic = topic;
    this.partition = partition;
  }

  /** Waiting records, without those in flight. */
  get waiting(): number {
    return this.#batches.reduce((sum, batch) => sum + batch.length, this.#queue.length);
  }

  get sequence(): number {
    return this.#sequence;
  }

  get isUncertain(): boolean {
    return this.#isUncertain;
  }

  add(entry: Entry): void {
    this.#queue.push(entry);
  }

  /** Drops abandoned records. */
  prune(): void {
    this.#queue = this.#queue.filter((entry) => !entry.isSettled);
    const [first, ...rest] = this.#batches;
    if (first === undefined) return;
    const pruned = rest.map((batch) => batch.filter((entry) => !entry.isSettled));
    const head = this.#isUncertain ? first : first.filter((entry) => !entry.isSettled);
    this.#batches = [head, ...pruned].filter((batch) => batch.length > 0);
  }

  /** The id of the producer of its batches: the same until it is replaced. */
  producerOr(current: ProducerId): ProducerId {
    this.#producer ??= current;
    return this.#producer;
  }

  /** Discards the sequence: the next batch begins a new one, under another id. */
  giveUpProducer(): ProducerId | undefined {
    const given = this.#producer;
    this.#producer = undefined;
    this.#sequence = 0;
    this.#isUncertain = false;
    return given;
  }

  /** @returns the next batch; `undefined` when none fits. A single batch may be larger. */
  take(room: Room, isFirst: boolean): { entries: Entry[]; bytes: number } | undefined {
    const known = this.#batches[0];
    if (known !== undefined) {
      const bytes = known.reduce((sum, { size }) => sum + size, 0);
      if (!isFirst && (known.length > room.records || bytes > room.bytes)) return undefined;
      this.#batches.shift();
      return { entries: known, bytes };
    }
    const entries: Entry[] = [];
    let taken = 0;
    let bytes = 0;
    for (const entry of this.#queue) {
      const isFull = entries.length >= room.records || bytes + entry.size > room.bytes;
      if (isFull && !(isFirst && entries.length === 0)) break;
      taken++;
      if (entry.isSettled) continue;
      entries.push(entry);
      bytes += entry.size;
    }
    this.#queue = this.#queue.slice(taken);
    return entries.length === 0 ? undefined : { entries, bytes };
  }

  /** @param offset - of the first record; −1 when the broker says only that it has the batch. */
  acknowledge(batch: readonly Entry[], offset: number): void {
    this.failures = 0;
    this.#isUncertain = false;
    // Sequence numbers go from 0 to 2³¹−1 and wrap around.
    this.#sequence = (this.#sequence + batch.length) % 0x80000000;
    let next = offset;
    for (const entry of batch) entry.settle(offset < 0 ? -1 : next++);
  }

  /** Sends the batch again, before all others. */
  putBack(batch: Entry[], { mayBeWritten }: { mayBeWritten: boolean }): void {
    this.#isUncertain ||= mayBeWritten;
    this.#batches.unshift(batch);
    this.prune();
  }

  /** One record of the batch is refused: both halves are sent separately, until it is found. */
  split(batch: Entry[]): void {
    const middle = Math.ceil(batch.length / 2);
    this.#batches.unshift(batch.slice(0, middle), batch.slice(middle));
    this.prune();
  }

  /** Rejects all waiting records. */
  refuse(error: Error): void {
    const entries = [...this.#batches.flat(), ...this.#queue];
    this.#batches = [];
    this.#queue = [];
    for (const entry of entries) entry.settle(error);
  }
}

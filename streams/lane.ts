import type { ProducerId } from './log-brokers.js';
import type { Entry } from './send-call.js';

/** How much more a request may hold. */
export interface Room {
  records: number;
  bytes: number;
}

/**
 * What waits for one partition, in order, and where the partition's sequence numbers stand. At most one batch of it is
 * under way.
 *
 * A batch that the broker may have written keeps its composition and its numbers until its outcome is known: the broker
 * knows a repetition by its numbers. One that surely was not written is taken apart again, so that what nobody waits for
 * any more is left out.
 */
export class Lane {
  readonly topic: string;
  readonly partition: number;
  /** Tries in a row that failed. */
  failures = 0;
  /** Whether nothing of it is under way, and it does not pause after a failure. */
  isAtRest = true;
  #producer: ProducerId | undefined;
  #sequence = 0;
  #queue: Entry[] = [];
  /** Taken from the queue before, and next to be sent: each as it is. */
  #batches: Entry[][] = [];
  /** Whether the first of these may be written already. */
  #isUncertain = false;

  constructor(topic: string, partition: number) {
    this.topic = topic;
    this.partition = partition;
  }

  /** Records that wait, without those that are under way. */
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

  /** Leaves out what nobody waits for any more. */
  prune(): void {
    this.#queue = this.#queue.filter((entry) => !entry.isSettled);
    const [first, ...rest] = this.#batches;
    if (first === undefined) return;
    const pruned = rest.map((batch) => batch.filter((entry) => !entry.isSettled));
    const head = this.#isUncertain ? first : first.filter((entry) => !entry.isSettled);
    this.#batches = [head, ...pruned].filter((batch) => batch.length > 0);
  }

  /** The id that its batches are written under: the same until it is given up. */
  producerOr(current: ProducerId): ProducerId {
    this.#producer ??= current;
    return this.#producer;
  }

  /** The broker's memory of the sequence is of no use: the next batch begins a new one, under another id. */
  giveUpProducer(): ProducerId | undefined {
    const given = this.#producer;
    this.#producer = undefined;
    this.#sequence = 0;
    this.#isUncertain = false;
    return given;
  }

  /** @returns the next batch; `undefined` when there is none that has room. A batch on its own may be larger. */
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
    // Numbers go from 0 to 2³¹−1 and begin again.
    this.#sequence = (this.#sequence + batch.length) % 0x80000000;
    let next = offset;
    for (const entry of batch) entry.settle(offset < 0 ? -1 : next++);
  }

  /** The batch is sent again, before all others. */
  putBack(batch: Entry[], { mayBeWritten }: { mayBeWritten: boolean }): void {
    this.#isUncertain ||= mayBeWritten;
    this.#batches.unshift(batch);
    this.prune();
  }

  /** One record of the batch is refused: both halves are sent on their own, until it is found. */
  split(batch: Entry[]): void {
    const middle = Math.ceil(batch.length / 2);
    this.#batches.unshift(batch.slice(0, middle), batch.slice(middle));
    this.prune();
  }

  /** Nothing that waits here can be written. */
  refuse(error: Error): void {
    const entries = [...this.#batches.flat(), ...this.#queue];
    this.#batches = [];
    this.#queue = [];
    for (const entry of entries) entry.settle(error);
  }
}

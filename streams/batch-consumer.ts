import type { Kafka } from 'kafkajs';
import { messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { backoff, Condition, pause } from '../platform/backoff.js';
import { EarlyCalls } from './early-calls.js';
import { GroupConsumer } from './group-consumer.js';
import type { Batch, GroupOptions } from './group-consumer.js';
import { mayPass } from './kafka-errors.js';
import { toStreamRecord } from './records.js';
import type { StreamRecord } from './records.js';
import { spansOf, traceRecords } from './traced-records.js';

export interface BatchConsumerOptions extends GroupOptions {
  /**
   * Handles records (of several partitions; in order within each). They are committed once it has resolved.
   * When it throws, the same records are passed again after a pause, for as long as it takes. After a
   * rebalance or a crash some are passed again too, so it must be idempotent. A permanent (not retriable)
   * error blocks only the partition whose records cause it: the records of each partition are then passed
   * separately.
   *
   * @param earlier - resolves once the earlier calls have ended: for work that must keep the order.
   */
  handle(records: StreamRecord[], earlier: Promise<unknown>): Promise<void>;
  /** Maximum records per call. Default 1,000. */
  maxBatch?: number;
  /**
   * Maximum time that a call waits to collect more records. At the end of the log it does not wait, as far as
   * {@link EarlyCalls} allows with this interval. Default 100 ms.
   */
  maxWaitMs?: number;
  /**
   * Maximum concurrent calls of `handle`. Beyond 1, records are in order only within a call, unless it waits
   * for `earlier`; commits stay in order. Default 1.
   */
  concurrentCalls?: number;
}

/** Wait at the end of the log, milliseconds: other partitions of the same work end a moment later. */
const settleMs = 5;

/** Unhandled records in the order read, with the position after each record. */
interface Waiting {
  record: StreamRecord;
  next: number;
  /** How often its partition had been held when it was read: records read before a hold are read again. */
  holds: number;
}

/**
 * Consumes at least once: reads ahead of the handler, collects records over fetches and partitions into large
 * batches, and commits handled records.
 */
export class BatchConsumer extends GroupConsumer<BatchConsumerOptions> {
  readonly #maxBatch: number;
  readonly #maxWaitMs: number;
  readonly #handling: Promise<void>;
  /** Aborts when the reading has ended and only the rest remains to be handled. */
  readonly #draining = new AbortController();
  #waiting: Waiting[] = [];
  /** How often each partition was held, since the group was joined. */
  #holds = new Map<string, number>();
  #oldestSince = 0;
  #newestSince = 0;
  /** Partitions of which more records are on the log than were read. */
  #behind = new Set<string>();
  readonly #earlyCalls: EarlyCalls;
  #generation = 0;
  /** Ends a wait for more records, or for capacity. */
  readonly #changed = new Condition();

  constructor(kafka: Kafka, logger: Logger, options: BatchConsumerOptions) {
    super(kafka, logger, options);
    this.#maxBatch = options.maxBatch ?? 1_000;
    this.#maxWaitMs = options.maxWaitMs ?? 100;
    this.#earlyCalls = new EarlyCalls(this.#maxWaitMs);
    this.#handling = this.#handleAll();
  }

  override async stop(): Promise<void> {
    this.#draining.abort();
    this.#changed.notify();
    // The rest is handled and committed while this is still a member of the group.
    await this.#handling;
    await super.stop();
  }

  /**
   * Drops the waiting records. They were not committed, so the new owner, perhaps this member, reads them
   * again.
   */
  protected override onJoin(): void {
    this.#generation++;
    this.#waiting = [];
    this.#holds = new Map();
    this.#behind = new Set();
    // The first fetches may bring one partition of a backlog after the other.
    this.#earlyCalls.reset(Date.now());
    this.#changed.notify();
  }

  /** Collects the records of a fetch. */
  protected override async onBatch(batch: Batch): Promise<void> {
    const { topic, partition, messages } = batch.payload.batch;
    const room = this.#maxBatch * 2;
    const holds = this.#holdsOf({ topic, partition });
    const slice = Math.max(1, Math.min(this.#maxBatch, 1_000));
    const next = Number(batch.payload.batch.lastOffset()) + 1;
    this.#behind.add(nameOf({ topic, partition }));
    for (let from = 0; from < messages.length; from += slice) {
      while (this.#waiting.length >= room && !this.#draining.signal.aborted) {
        batch.check();
        await this.#changed.wait(1_000, batch.signal);
      }
      batch.check();
      if (holds !== this.#holdsOf({ topic, partition })) return;
      if (this.#draining.signal.aborted) {
        // Nothing more is accepted; heartbeats continue until the rest is handled.
        await pause(60_000, batch.signal);
        return;
      }
      const chunk = messages.slice(from, from + slice);
      const isLast = from + slice >= messages.length;
      if (this.#waiting.length === 0) this.#oldestSince = Date.now();
      chunk.forEach((message, index) => {
        const record = toStreamRecord(topic, partition, message);
        const isEnd = isLast && index === chunk.length - 1;
        this.#waiting.push({ record, next: isEnd ? next : record.offset + 1, holds });
      });
      this.#newestSince = Date.now();
      if (isLast && next >= Number(batch.payload.batch.highWatermark))
        this.#behind.delete(nameOf({ topic, partition }));
      batch.payload.resolveOffset(chunk.at(-1)?.offset ?? '');
      this.#changed.notify();
    }
  }

  async #handleAll(): Promise<void> {
    const { concurrentCalls = 1 } = this.options;
    /** Oldest first. Each resolves with whether later records may be committed. */
    const calls: Promise<boolean>[] = [];
    for (;;) {
      const wait = this.#untilDue();
      if (wait > 0) {
        if (this.#draining.signal.aborted && this.#waiting.length === 0) break;
        await this.#changed.wait(wait);
        continue;
      }
      if (calls.length >= concurrentCalls) {
        const goesOn = await calls.shift();
        if (!goesOn) break;
        continue;
      }
      const chunk = this.#waiting.slice(0, this.#maxBatch);
      this.#waiting = this.#waiting.slice(chunk.length);
      this.#oldestSince = Date.now();
      this.#earlyCalls.note(this.#oldestSince);
      this.#changed.notify();
      calls.push(this.#handleAndCommit(chunk, this.#generation, calls.at(-1)));
    }
    await Promise.all(calls);
  }

  async #handleAndCommit(
    chunk: Waiting[],
    generation: number,
    earlier: Promise<boolean> = Promise.resolve(true),
  ): Promise<boolean> {
    const handled = await this.#handleUntilDone(chunk, generation, earlier);
    if (!(await earlier) || !handled) return false;
    await this.#commit(chunk, generation);
    return true;
  }

  /** Milliseconds until the waiting records should be handled; 0 or less is now. */
  #untilDue(): number {
    if (this.#waiting.length === 0) return 60_000;
    if (this.#waiting.length >= this.#maxBatch || this.#draining.signal.aborted) return 0;
    const latest = this.#oldestSince + this.#maxWaitMs;
    const early = Math.max(this.#newestSince + settleMs, this.#earlyCalls.next);
    return (this.#behind.size > 0 ? latest : Math.min(latest, early)) - Date.now();
  }

  /** Returns `false` when the consumption stops before; records of an earlier generation count as done. */
  async #handleUntilDone(chunk: Waiting[], generation: number, earlier: Promise<boolean>): Promise<boolean> {
    const { groupId } = this.options;
    const records = traceRecords(
      chunk.map(({ record }) => record),
      { groupId },
    );
    const spans = spansOf(records);
    for (let attempt = 0; ; attempt++) {
      try {
        await this.options.handle(records, earlier);
        for (const span of spans) span.end();
        if (this.#holds.size > 0)
          for (const each of chunk) if (this.#isCurrent(each)) this.release(each.record);
        this.report();
        return true;
      } catch (error) {
        for (const span of spans) span.retry(error);
        const isStopping = this.#draining.signal.aborted;
        const isForGood = !mayPass(error);
        if (isForGood && !isStopping && generation === this.#generation) {
          for (const span of spans) span.end(error);
          return this.#handleEachPartition(chunk, generation, earlier, error);
        }
        this.report(error);
        this.logger.warn(
          { records: records.length, attempt, err: error },
          'Handling failed; the same records are tried again',
        );
        if (!isStopping) await backoff(attempt, { signal: this.#draining.signal });
        if (isStopping || generation !== this.#generation) {
          for (const span of spans) span.end(error);
          return !isStopping;
        }
      }
    }
  }

  /** After a permanent error: finds the partition that causes it, and holds only that one. */
  async #handleEachPartition(
    chunk: Waiting[],
    generation: number,
    earlier: Promise<boolean>,
    error: unknown,
  ): Promise<boolean> {
    const partitions = new Map<string, Waiting[]>();
    for (const each of chunk) {
      const of = partitions.get(nameOf(each.record));
      if (of) of.push(each);
      else partitions.set(nameOf(each.record), [each]);
    }
    if (partitions.size === 1) {
      // Earlier records must not fail after this: they would not be read again.
      await earlier;
      if (generation === this.#generation) this.#hold(chunk, error);
      return true;
    }
    let isDone = true;
    for (const part of partitions.values())
      isDone = (await this.#handleUntilDone(part, generation, earlier)) && isDone;
    return isDone;
  }

  /** Rewinds one partition: the records, and all after them, are read again after a pause. */
  #hold(chunk: Waiting[], error: unknown): void {
    const [first] = chunk;
    if (first === undefined || first.holds !== this.#holdsOf(first.record)) return;
    const { topic, partition, offset } = first.record;
    this.logger.error(
      { topic, partition, from: offset, records: chunk.length, err: error },
      'Handling fails for good; the partition waits until the cause is fixed',
    );
    this.#holds.set(nameOf(first.record), first.holds + 1);
    this.#waiting = this.#waiting.filter((each) => this.#isCurrent(each));
    this.hold({ topic, partition }, error, { firstMs: 1_000, maxMs: 30_000, offset });
    this.#changed.notify();
  }

  #holdsOf(place: { topic: string; partition: number }): number {
    return this.#holds.get(nameOf(place)) ?? 0;
  }

  #isCurrent({ record, holds }: Waiting): boolean {
    return holds === this.#holdsOf(record);
  }

  async #commit(chunk: Waiting[], generation: number): Promise<void> {
    if (generation !== this.#generation) return;
    const positions = new Map<string, { topic: string; partition: number; next: number }>();
    for (const each of chunk) {
      // Records read before their partition was held are read again, with the failed ones.
      if (!this.#isCurrent(each)) continue;
      const { topic, partition } = each.record;
      const { next } = each;
      positions.set(`${topic}/${partition}`, { topic, partition, next });
    }
    if (positions.size === 0) return;
    try {
      await this.commit(
        [...positions.values()].map(({ topic, partition, next }) => ({
          topic,
          partition,
          offset: String(next),
        })),
      );
    } catch (error) {
      // The next commit covers these too; without one, the records are read again.
      this.logger.info({ error: messageOf(error) }, 'Committing offsets failed');
    }
  }
}

function nameOf({ topic, partition }: { topic: string; partition: number }): string {
  return `${topic}/${partition}`;
}

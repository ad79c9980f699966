import { randomUUID } from 'node:crypto';
import type { Kafka } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { backoff, pause } from './backoff.js';
import { GroupConsumer } from './group-consumer.js';
import type { Batch, ConsumptionStatus } from './group-consumer.js';
import { toStreamRecord } from './records.js';
import type { StreamRecord } from './records.js';

export interface FollowOptions {
  topics: string[];
  /**
   * Takes records as they are read: of one partition, in order, each once. When it throws, the same records come again
   * after a pause, for as long as it takes.
   */
  handle(records: StreamRecord[]): void | Promise<void>;
}

/** What this process alone knows of some topics, from their beginning on. */
export interface Follower {
  /**
   * Resolves once everything that was committed to the topics when this was called has been handled, also what stands
   * behind a transaction of someone else that is open.
   *
   * @throws MillraceError `LOG_UNAVAILABLE`, retriable, after `timeoutMs`.
   */
  whenCaughtUp(options: { timeoutMs: number }): Promise<void>;
  status(): ConsumptionStatus;
  stop(): Promise<void>;
}

/** First and next offset of each partition of a topic, once nothing is open that was written before. */
export type SettledEnds = (
  topic: string,
  timeoutMs: number,
) => Promise<readonly { partition: number; low: number; high: number }[]>;

const pollMs = 50;

/**
 * Reads whole topics without sharing them: a group of its own that commits nothing, so that every start begins at the
 * beginning. (kafkajs has no way to read without a group; an empty group without offsets leaves nothing behind.)
 */
export class Follow implements Follower {
  readonly #logger: Logger;
  readonly #options: FollowOptions;
  readonly #group: GroupConsumer;
  readonly #ends: SettledEnds;
  /** Next offset to handle, by topic and partition: after an outage the group begins anew, and what is known is passed over. */
  readonly #next = new Map<string, number>();
  #changed = new AbortController();

  constructor(kafka: Kafka, logger: Logger, options: FollowOptions, ends: SettledEnds) {
    this.#logger = logger;
    this.#options = options;
    this.#ends = ends;
    const group = { groupId: `millrace-follow-${randomUUID()}`, topics: options.topics };
    this.#group = new GroupConsumer(kafka, logger, group, {
      onBatch: (batch) => this.#take(batch),
      onJoin: () => undefined,
      // Nobody is asked to handle a batch that holds only transaction markers and aborted records.
      onEmptyBatch: (topic, partition, lastOffset) => this.#reached(topic, partition, lastOffset + 1),
    });
  }

  async whenCaughtUp({ timeoutMs }: { timeoutMs: number }): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const ends = await Promise.all(
      this.#options.topics.map(async (topic) =>
        (await this.#ends(topic, timeoutMs)).map((end) => ({ key: `${topic}/${end.partition}`, ...end })),
      ),
    );
    const missing = ends.flat().filter(({ low, high }) => high > low);
    while (missing.some(({ key, high }) => (this.#next.get(key) ?? 0) < high)) {
      if (performance.now() > deadline) {
        throw new MillraceError(
          'LOG_UNAVAILABLE',
          `Reading ${this.#options.topics.join(', ')} took longer than ${timeoutMs} ms. It goes on; check that the brokers answer.`,
          { retriable: true },
        );
      }
      await pause(pollMs, this.#changed.signal);
    }
  }

  status(): ConsumptionStatus {
    return this.#group.status;
  }

  stop(): Promise<void> {
    return this.#group.stop();
  }

  async #take(batch: Batch): Promise<void> {
    const { topic, partition, messages } = batch.payload.batch;
    const next = this.#next.get(`${topic}/${partition}`) ?? 0;
    const records = messages
      .filter(({ offset }) => Number(offset) >= next)
      .map((message) => toStreamRecord(topic, partition, message));
    if (records.length > 0) await this.#handle(batch, records);
    const last = batch.payload.batch.lastOffset();
    batch.payload.resolveOffset(last);
    this.#reached(topic, partition, Number(last) + 1);
  }

  async #handle(batch: Batch, records: StreamRecord[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      batch.check();
      try {
        await this.#options.handle(records);
        this.#group.report();
        return;
      } catch (error) {
        this.#group.report(error);
        this.#logger.warn(
          { topic: records[0]?.topic, attempt, err: error },
          'Handling failed; the same records are tried again',
        );
        await backoff(attempt, { signal: batch.signal });
      }
    }
  }

  #reached(topic: string, partition: number, next: number): void {
    const key = `${topic}/${partition}`;
    this.#next.set(key, Math.max(next, this.#next.get(key) ?? 0));
    const changed = this.#changed;
    this.#changed = new AbortController();
    changed.abort();
  }
}

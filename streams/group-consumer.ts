import type { Consumer, EachBatchPayload, Kafka } from 'kafkajs';
import { messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { atMost, backoff, pause } from '../platform/backoff.js';
import { type Consumption, ConsumptionHealth, type ConsumptionStatus } from './consumption.js';

const stopMs = 15_000;

export interface GroupOptions {
  groupId: string;
  topics: string[];
  /** Partitions worked on at the same time. Default 8. */
  concurrency?: number;
  /** After so long without a heartbeat the broker gives the partitions to others. Default 10 s; brokers allow 6 s at least. */
  sessionTimeoutMs?: number;
  /**
   * How often a member shows that it lives. With the answer it learns that the group rebalances; until the last has learnt
   * it, those that know stand still. Default 500 ms, or a fifth of the session timeout where that is less.
   */
  heartbeatMs?: number;
  /** So long may a batch take after a rebalance began; then the partitions go to others. Default 60 s. */
  rebalanceTimeoutMs?: number;
  /** Added partitions are noticed within this time. Default 30 s. */
  refreshMs?: number;
  /** Where a group without a committed offset starts. Default `earliest`. */
  startFrom?: 'earliest' | 'latest';
}

/** One batch with what its handler needs to notice that it has lost, or should let go of, the partition. */
export interface Batch {
  payload: EachBatchPayload;
  /** Aborts when the member must stop or rejoin: leave off waiting, and call `check()`. */
  signal: AbortSignal;
  /** @throws the reason when the group rebalances, the partition was lost, or the consumer stops. */
  check(): void;
}

/** Makes kafkajs join the group again: it looks at the `type` alone. */
export class Rejoin extends Error {
  readonly type = 'REBALANCE_IN_PROGRESS';
}

class Stopping extends Error {}

/** After a batch of fewer records than this the partition rests for so long; a record that comes alone is not held back. */
const smallBatch = 200;
const lingerMs = 20;

/**
 * Membership in a consumer group that ends only with `stop()`: kafkajs' consumer is replaced, with backoff, whenever
 * it crashes. (Its own restart covers some errors only and keeps state across them.)
 */
export abstract class GroupConsumer<Options extends GroupOptions = GroupOptions> implements Consumption {
  protected readonly logger: Logger;
  protected readonly options: Options;
  readonly #kafka: Kafka;
  readonly #stopping = new AbortController();
  readonly #sessionTimeoutMs: number;
  readonly #heartbeatMs: number;
  readonly #running: Promise<void>;
  /** Of each batch that is worked on. */
  readonly #lost = new Set<AbortController>();
  /** Partitions that pause after a failure, with their failures in a row. */
  readonly #held = new Map<string, number>();
  #consumer: Consumer | undefined;
  readonly #health: ConsumptionHealth;
  #lastAttempt = Date.now();

  constructor(kafka: Kafka, logger: Logger, options: Options) {
    this.#kafka = kafka;
    this.logger = logger.child({ group: options.groupId });
    this.options = options;
    this.#sessionTimeoutMs = options.sessionTimeoutMs ?? 10_000;
    this.#heartbeatMs = options.heartbeatMs ?? Math.min(500, this.#sessionTimeoutMs / 5);
    this.#health = new ConsumptionHealth(this.#sessionTimeoutMs / 2, 'joining the group');
    // Joins later than the constructor of the subclass ends: connecting takes I/O.
    this.#running = this.#run();
  }

  protected abstract onBatch(batch: Batch): Promise<void>;

  /** Called before the first batch of each generation, with nothing of the last one still running. */
  protected abstract onJoin(): void;

  status(): ConsumptionStatus {
    return this.#health.status;
  }

  aliveAt(): number {
    return Math.max(this.#health.lastContact, this.#lastAttempt);
  }

  /** Aborts as soon as `stop()` is called. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** How the last batch went. While a partition is held, others that go through don't make it well. */
  report(error?: unknown): void {
    if (error !== undefined || this.#held.size === 0) this.#health.report(error);
  }

  /** How often in a row a partition was held. */
  failuresOf(topic: string, partition: number): number {
    return this.#held.get(`${topic}/${partition}`) ?? 0;
  }

  /**
   * Lets a partition rest after a failure, while the others of its fetch and its topic go on. Its handler returns; what it
   * has not resolved comes again, or all from `offset` on where that is given.
   */
  hold(
    { topic, partition }: { topic: string; partition: number },
    error: unknown,
    { offset, ...limits }: { firstMs: number; maxMs: number; offset?: number },
  ): void {
    const failures = this.failuresOf(topic, partition);
    this.#held.set(`${topic}/${partition}`, failures + 1);
    this.report(error);
    const consumer = this.#consumer;
    const place = [{ topic, partitions: [partition] }];
    try {
      consumer?.pause(place);
      if (offset !== undefined) consumer?.seek({ topic, partition, offset: String(offset) });
    } catch {
      // It is about to be replaced, and the next one reads on from what is committed.
      return;
    }
    const goesOn = async (): Promise<void> => {
      await backoff(failures, { ...limits, signal: this.stopping });
      try {
        consumer?.resume(place);
      } catch {
        // It has crashed or stopped meanwhile, and knows of no partitions: the next one begins with none paused.
      }
    };
    void goesOn();
  }

  /** A partition goes on. */
  release({ topic, partition }: { topic: string; partition: number }): void {
    this.#held.delete(`${topic}/${partition}`);
  }

  async commit(offsets: { topic: string; partition: number; offset: string }[]): Promise<void> {
    await this.#consumer?.commitOffsets(offsets);
  }

  /**
   * Lets batches in work come to an end, leaves the group and disconnects. While the log is away kafkajs can't do
   * that: then it is left to end by itself.
   */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await atMost(stopMs, this.#running);
  }

  async #run(): Promise<void> {
    const stopped = new Promise<undefined>((resolve) => {
      this.stopping.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    for (let attempt = 0; !this.stopping.aborted; attempt++) {
      this.#lastAttempt = Date.now();
      const consumer = this.#newConsumer();
      this.#consumer = consumer;
      try {
        const crashed = new Promise<Error>((resolve) => {
          consumer.on('consumer.crash', ({ payload }) => resolve(payload.error));
        });
        for (const event of ['consumer.fetch', 'consumer.heartbeat'] as const)
          consumer.on(event, () => this.#health.contact());
        consumer.on('consumer.group_join', ({ payload: { isLeader, memberAssignment } }) => {
          attempt = 0;
          this.#health.contact();
          this.logger.info({ isLeader, partitions: memberAssignment }, 'Joined the group');
          this.onJoin();
          // What another member has now is that member's to tell.
          this.#held.clear();
          this.report();
        });
        await consumer.connect();
        await consumer.subscribe({
          topics: this.options.topics,
          fromBeginning: this.options.startFrom !== 'latest',
        });
        await consumer.run({
          autoCommit: false,
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: this.options.concurrency ?? 8,
          eachBatch: (payload) => this.#work(payload),
        });
        const error = await Promise.race([crashed, stopped]);
        if (error) throw error;
      } catch (error) {
        this.report(error);
        this.logger.warn({ attempt, error: messageOf(error) }, 'The consumer stopped; starting it again');
      }
      await consumer.disconnect().catch(() => undefined);
      if (!this.stopping.aborted) await backoff(attempt, { signal: this.stopping });
    }
  }

  #newConsumer(): Consumer {
    const { groupId, rebalanceTimeoutMs = 60_000, refreshMs = 30_000 } = this.options;
    return this.#kafka.consumer({
      groupId,
      sessionTimeout: this.#sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      heartbeatInterval: this.#heartbeatMs,
      maxWaitTimeInMs: 500,
      metadataMaxAge: refreshMs,
      allowAutoTopicCreation: false,
      retry: { restartOnFailure: () => Promise.resolve(false) },
    });
  }

  /** kafkajs sends no heartbeat while a batch is worked on: this does, and tells the batch what came back. */
  async #work(payload: EachBatchPayload): Promise<void> {
    const lost = new AbortController();
    const signal = AbortSignal.any([lost.signal, this.stopping]);
    // What one batch is told all have to know: the group waits until the last of them has let go.
    const beat = (): void => {
      payload.heartbeat().catch((error: unknown) => {
        for (const each of this.#lost) each.abort(error);
      });
    };
    this.#lost.add(lost);
    const timer = setInterval(beat, this.#heartbeatMs);
    const check = (): void => {
      if (lost.signal.aborted) throw lost.signal.reason;
      if (this.stopping.aborted || !payload.isRunning() || payload.isStale()) throw new Stopping();
    };
    try {
      // A batch that was fetched with others may begin when the group has been rebalancing for a while.
      await payload.heartbeat();
      await this.onBatch({ payload, signal, check });
      await payload.heartbeat();
      // The next fetch then brings what came meanwhile in one batch: one transaction, instead of one for each record.
      if (payload.batch.messages.length < smallBatch) await pause(lingerMs, signal);
    } catch (error) {
      if (!(error instanceof Stopping)) throw error;
    } finally {
      clearInterval(timer);
      this.#lost.delete(lost);
    }
  }
}

import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs';
import { messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { atMost, backoff, pause } from '../platform/backoff.js';
import { type Consumption, ConsumptionHealth, type ConsumptionStatus } from './consumption.js';

const stopMs = 15_000;

export interface GroupOptions {
  groupId: string;
  topics: string[];
  /** Maximum partitions processed concurrently. Default 8. */
  concurrency?: number;
  /**
   * Session timeout: without a heartbeat for this time the broker reassigns the partitions. Default 10 s;
   * brokers allow 6 s at least.
   */
  sessionTimeoutMs?: number;
  /**
   * Heartbeat interval. The answer tells a member that the group rebalances; until the last member knows, the
   * others are idle. Default 500 ms, or a fifth of the session timeout if that is less.
   */
  heartbeatMs?: number;
  /**
   * Rebalance timeout: maximum time for a batch after a rebalance began; then the partitions are reassigned.
   * Default 60 s.
   */
  rebalanceTimeoutMs?: number;
  /** Added partitions are noticed within this time. Default 30 s. */
  refreshMs?: number;
  /** Start of a group without a committed offset. Default `earliest`. */
  startFrom?: 'earliest' | 'latest';
  /**
   * Returns whether a client may be waiting for what follows from a record. After a batch for which none
   * does, the next records gather for longer, also those of other partitions. Default: always.
   */
  isAwaited?: (message: KafkaMessage) => boolean;
}

/** One batch, with the means for its handler to notice that the partition is lost or must be released. */
export interface Batch {
  payload: EachBatchPayload;
  /** Aborts when the member must stop or rejoin: stop waiting, and call `check()`. */
  signal: AbortSignal;
  /** @throws the reason when the group rebalances, the partition was lost, or the consumer stops. */
  check(): void;
}

class Stopping extends Error {}

/**
 * After a batch of fewer records the partition pauses. The next fetch then returns the records of that time
 * in one batch: one transaction, instead of one for each record. A single record is not delayed.
 */
const linger = { records: 200, ms: 20 };
const lingerWhenNotAwaited = { records: 1_000, ms: 100 };

/**
 * Membership in a consumer group that ends only with `stop()`: kafkajs' consumer is replaced, with backoff,
 * whenever it crashes. (Its own restart covers only some errors and keeps state across them.)
 */
export abstract class GroupConsumer<Options extends GroupOptions = GroupOptions> implements Consumption {
  protected readonly logger: Logger;
  protected readonly options: Options;
  readonly #kafka: Kafka;
  readonly #stopping = new AbortController();
  readonly #sessionTimeoutMs: number;
  readonly #heartbeatMs: number;
  readonly #running: Promise<void>;
  /** Of each batch in progress. */
  readonly #lost = new Set<AbortController>();
  /** Partitions that pause after a failure, with their consecutive failures. */
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
    // Joins after the constructor of the subclass has ended: connecting takes I/O.
    this.#running = this.#run();
  }

  protected abstract onBatch(batch: Batch): Promise<void>;

  /** Called before the first batch of each generation, when nothing of the last one is still running. */
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

  /**
   * Notes the outcome of the last batch. While a partition is held, the success of others does not make the
   * state healthy.
   */
  report(error?: unknown): void {
    if (error !== undefined || this.#held.size === 0) this.#health.report(error);
  }

  /** Consecutive failures of a partition. */
  failuresOf(topic: string, partition: number): number {
    return this.#held.get(`${topic}/${partition}`) ?? 0;
  }

  /**
   * Pauses a partition after a failure, while the other partitions of its fetch and its topic continue. Its
   * handler returns; unresolved records are passed again, or all from `offset` on if that is given.
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
      // It is about to be replaced, and the next one continues at the committed offset.
      return;
    }
    const goesOn = async (): Promise<void> => {
      await backoff(failures, { ...limits, signal: this.stopping });
      try {
        consumer?.resume(place);
      } catch {
        // It has crashed or stopped meanwhile, and knows no partitions: the next one begins with none paused.
      }
    };
    void goesOn();
  }

  /** Resumes a partition. */
  release({ topic, partition }: { topic: string; partition: number }): void {
    this.#held.delete(`${topic}/${partition}`);
  }

  async commit(offsets: { topic: string; partition: number; offset: string }[]): Promise<void> {
    await this.#consumer?.commitOffsets(offsets);
  }

  /**
   * Lets batches in progress end, leaves the group and disconnects. kafkajs can't do that while the log is
   * unavailable: then it ends by itself.
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
          // Another member reports the partitions that it owns now.
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

  /**
   * kafkajs sends no heartbeat while a batch is in progress. This sends it, and passes the answer to the
   * batch.
   */
  async #work(payload: EachBatchPayload): Promise<void> {
    const lost = new AbortController();
    const signal = AbortSignal.any([lost.signal, this.stopping]);
    // An answer to one batch concerns all: the group waits until the last of them has released its partition.
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
      // A batch that was fetched with others may begin when the group has been rebalancing for some time.
      await payload.heartbeat();
      await this.onBatch({ payload, signal, check });
      await payload.heartbeat();
      const { messages } = payload.batch;
      const { isAwaited } = this.options;
      const { records, ms } =
        isAwaited === undefined || messages.some(isAwaited) ? linger : lingerWhenNotAwaited;
      if (messages.length < records) await pause(ms, signal);
    } catch (error) {
      if (!(error instanceof Stopping)) throw error;
    } finally {
      clearInterval(timer);
      this.#lost.delete(lost);
    }
  }
}

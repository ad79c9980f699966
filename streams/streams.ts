import { MillraceError } from '../platform/errors.js';
import { createKafka } from './connection.js';
import type { StreamsSettings } from './connection.js';
import { BatchConsumer } from './batch-consumer.js';
import type { BatchConsumerOptions } from './batch-consumer.js';
import type { Consumption } from './consumption.js';
import { TopicTail } from './topic-tail.js';
import type { Follower, TopicTailOptions } from './topic-tail.js';
import { LogAdmin } from './log-admin.js';
import type { PartitionLag, PartitionRange } from './log-admin.js';
import { KafkaLogBrokers } from './log-brokers.js';
import { LogReader } from './log-reader.js';
import type { Span } from './log-reader.js';
import { KafkaLogProducer } from './log-producer.js';
import type { LogProducer } from './log-producer.js';
import type { StreamRecord } from './records.js';
import type { TopicSpec } from './topics.js';
import { openTransactionalProducer } from './transactional-producer.js';
import type { TransactionalProducer } from './transactional-producer.js';
import { ExactlyOnceProcessor } from './exactly-once-processor.js';
import type { ExactlyOnceProcessorOptions } from './exactly-once-processor.js';

/** The log: everything that the rest of Millrace knows of Kafka. */
export interface Streams {
  /**
   * Makes sure that topics exist. Those that do are left as they are; a different number of partitions or setting is
   * logged as a warning. @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_REFUSED`, `LOG_UNAUTHORIZED`.
   */
  createTopics(specs: readonly TopicSpec[]): Promise<void>;
  createProducer(): Promise<LogProducer>;
  /** For records that belong together. @throws MillraceError as {@link TransactionalProducer.commit}. */
  createTransactionalProducer(transactionalId: string): Promise<TransactionalProducer>;
  /** Exactly once. Runs from now on; `status()` says when it has joined its group. */
  transform(options: ExactlyOnceProcessorOptions): Promise<Consumption>;
  /** At least once. Runs from now on; `status()` says when it has joined its group. */
  consume(options: BatchConsumerOptions): Promise<Consumption>;
  /** Reads whole topics, and goes on with what comes. Runs from now on, in this process alone. */
  follow(options: TopicTailOptions): Promise<Follower>;
  /**
   * Hands over the committed records of some places, in order, each once, without a consumer group.
   *
   * @param handle - `false` ends the reading.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`; what `handle` throws.
   */
  read(
    spans: readonly Span[],
    handle: (records: StreamRecord[]) => Promise<boolean | void> | boolean | void,
  ): Promise<void>;
  /**
   * Waits until everything that is written on a topic now is committed or aborted; answers whether it was in time.
   *
   * @param timeoutMs - default 70 s: brokers end a transaction that was left open after a minute.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`.
   */
  whenSettled(topic: string, timeoutMs?: number): Promise<boolean>;
  /** Names of all topics that may be seen. */
  topics(): Promise<string[]>;
  /** Answers at once where other calls would try for long. @throws MillraceError `TOPIC_MISSING`. */
  requireTopics(topics: readonly string[]): Promise<void>;
  /**
   * As `ends`, but with all that is committed: what stands behind another's open transaction can't be seen before that ends.
   *
   * @throws MillraceError as {@link Streams.whenSettled}, and `LOG_UNAVAILABLE`, retriable, when one is open for longer.
   */
  lastStableOffsets(topic: string, timeoutMs?: number): Promise<PartitionRange[]>;
  /** First and next committed offset of each partition. */
  ends(topic: string): Promise<PartitionRange[]>;
  /** Per partition of the topic the next offset that the group reads; partitions without a commit are left out. */
  committed(groupId: string, topic: string): Promise<Map<number, number>>;
  /** Per partition the first offset with a record of that time (milliseconds since 1970) or later, else the end. */
  offsetsAt(topic: string, time: number): Promise<Map<number, number>>;
  /** Answers whether the log does. @throws MillraceError `LOG_UNAVAILABLE`, retriable, after 2 s at most. */
  ping(): Promise<void>;
  /** How far a group is behind, per partition. */
  lag(groupId: string, topics: readonly string[]): Promise<PartitionLag[]>;
  /** Stops all consumptions, then the producers, then disconnects. */
  close(): Promise<void>;
}

/** Brokers end one that was left open after a minute. */
const maxTransactionMs = 70_000;

/** Connects lazily: creating it does no I/O. */
export function createStreams(settings: StreamsSettings): Streams {
  const { logger } = settings;
  const consumers = createKafka(settings);
  const producers = createKafka(settings);
  const admin = new LogAdmin(
    (onProblem) => createKafka(settings, onProblem),
    logger,
    settings.replicationFactor ?? -1,
  );
  const reader = new LogReader(consumers, (topic) => admin.ends(topic));
  const consumptions = new Set<Consumption>();
  const open = new Set<LogProducer>();
  const transactional = new Set<TransactionalProducer>();
  const followers = new Set<Follower>();
  let closed = false;

  function keep<T>(collection: Set<T>, create: () => T): Promise<T> {
    if (closed)
      return Promise.reject(new MillraceError('LOG_CLOSED', 'The connection to the log is closed already.'));
    const created = create();
    collection.add(created);
    return Promise.resolve(created);
  }

  async function lastStableOffsets(
    topic: string,
    timeoutMs = maxTransactionMs,
  ): ReturnType<LogAdmin['ends']> {
    if (await reader.whenSettled(topic, timeoutMs)) return admin.ends(topic);
    throw new MillraceError(
      'LOG_UNAVAILABLE',
      `A transaction on ${topic} was still open after ${timeoutMs} ms. Brokers end it within a minute.`,
    );
  }

  return {
    createTopics: (specs) => admin.createTopics(specs),
    createProducer: () => keep(open, () => new KafkaLogProducer(new KafkaLogBrokers(producers), logger)),
    async createTransactionalProducer(transactionalId) {
      const producer = await openTransactionalProducer(producers, transactionalId);
      const close = (): Promise<void> => {
        transactional.delete(kept);
        return producer.close();
      };
      const kept: TransactionalProducer = { commit: (records) => producer.commit(records), close };
      // It may have been closed while this one was being opened.
      if (closed) await close();
      return keep(transactional, () => kept);
    },
    follow: (options) => keep(followers, () => new TopicTail(consumers, logger, options, lastStableOffsets)),
    transform: (options) =>
      keep(consumptions, () => {
        const committed = (topic: string) => admin.committed(options.groupId, topic);
        return new ExactlyOnceProcessor({ consumers, producers }, logger, options, committed);
      }),
    consume: (options) => keep(consumptions, () => new BatchConsumer(consumers, logger, options)),
    read: (spans, handle) => reader.read(spans, handle),
    whenSettled: (topic, timeoutMs = maxTransactionMs) => reader.whenSettled(topic, timeoutMs),
    lastStableOffsets,
    topics: () => admin.topics(),
    requireTopics: (topics) => admin.requireTopics(topics),
    ends: (topic) => admin.ends(topic),
    committed: (groupId, topic) => admin.committed(groupId, topic),
    offsetsAt: (topic, time) => admin.offsetsAt(topic, time),
    ping: () => admin.ping(),
    lag: (groupId, topics) => admin.lag(groupId, topics),
    async close() {
      closed = true;
      await Promise.all([...consumptions, ...followers].map((each) => each.stop()));
      await Promise.all([...open, ...transactional].map((producer) => producer.close()));
      await reader.close();
      await admin.close();
    },
  };
}

import { MillraceError } from '../platform/errors.js';
import { GroupPositions } from './group-positions.js';
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
import type { CommittedPosition, TransactionalProducer } from './transactional-producer.js';
import { ExactlyOnceProcessor } from './exactly-once-processor.js';
import type { ExactlyOnceProcessorOptions } from './exactly-once-processor.js';

/** The log: all access of Millrace to Kafka. */
export interface Streams {
  /**
   * Ensures that topics exist. Existing ones are left unchanged; a different number of partitions or setting
   * is logged as a warning. @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_REFUSED`,
   * `LOG_UNAUTHORIZED`.
   */
  createTopics(specs: readonly TopicSpec[]): Promise<void>;
  createProducer(): Promise<LogProducer>;
  /**
   * Returns a producer for records that belong together. @throws MillraceError as {@link
   * TransactionalProducer.commit}.
   */
  createTransactionalProducer(transactionalId: string): Promise<TransactionalProducer>;
  /** Starts an exactly-once processor; `status()` tells when it has joined its group. */
  transform(options: ExactlyOnceProcessorOptions): Promise<Consumption>;
  /** Starts an at-least-once consumer; `status()` tells when it has joined its group. */
  consume(options: BatchConsumerOptions): Promise<Consumption>;
  /** Starts to read whole topics and all later records, in this process alone. */
  follow(options: TopicTailOptions): Promise<Follower>;
  /**
   * Passes on the committed records of some ranges, in order, each once, without a consumer group.
   *
   * @param handle - `false` stops the reading.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`; errors of `handle`.
   */
  read(
    spans: readonly Span[],
    handle: (records: StreamRecord[]) => Promise<boolean | void> | boolean | void,
  ): Promise<void>;
  /**
   * Waits until all records written to a topic before this call are committed or aborted; returns whether
   * they were in time.
   *
   * @param timeoutMs - default 70 s: brokers end an abandoned transaction after a minute.
   * @throws MillraceError `LOG_UNAVAILABLE` (retriable), `LOG_UNAUTHORIZED`.
   */
  whenSettled(topic: string, timeoutMs?: number): Promise<boolean>;
  /** Returns the names of all visible topics. */
  topics(): Promise<string[]>;
  /** Fails at once where other calls would retry for long. @throws MillraceError `TOPIC_MISSING`. */
  requireTopics(topics: readonly string[]): Promise<void>;
  /**
   * Like `ends`, but including all committed records: those behind another producer's open transaction are
   * invisible before it ends.
   *
   * @throws MillraceError as {@link Streams.whenSettled}, and `LOG_UNAVAILABLE`, retriable, when one is open
   *   for longer.
   */
  lastStableOffsets(topic: string, timeoutMs?: number): Promise<PartitionRange[]>;
  /** Returns the first and next committed offset of each partition. */
  ends(topic: string): Promise<PartitionRange[]>;
  /**
   * Returns per partition of the topic the next offset that the group reads; partitions without a commit are
   * left out.
   */
  committed(groupId: string, topic: string): Promise<Map<number, number>>;
  /**
   * Returns per partition the first offset with a record of that time (milliseconds since 1970) or later,
   * else the end.
   */
  offsetsAt(topic: string, time: number): Promise<Map<number, number>>;
  /**
   * Checks whether the log answers. @throws MillraceError `LOG_UNAVAILABLE`, retriable, after 2 s at most.
   */
  ping(): Promise<void>;
  /** Returns the lag of a group, per partition. */
  lag(groupId: string, topics: readonly string[]): Promise<PartitionLag[]>;
  /** Stops all consumptions, then the producers, then disconnects. */
  close(): Promise<void>;
}

/** Brokers end an abandoned transaction after a minute. */
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
  const positions = new GroupPositions(producers);
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
        const position: CommittedPosition = (topic, partition) =>
          positions.next(options.groupId, topic, partition);
        return new ExactlyOnceProcessor({ consumers, producers }, logger, options, position);
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
      await positions.close();
      await reader.close();
      await admin.close();
    },
  };
}

import type { ICustomPartitioner, Kafka, Producer } from 'kafkajs';
import { isFenced, toMillraceError } from './kafka-errors.js';
import { MillraceError, messageOf } from '../platform/errors.js';
import { maxBytesPerRequest } from './log-producer.js';
import { stickyPartitioner } from './partitioner.js';
import { sizeOf, toMessage } from './records.js';
import type { NewRecord } from './records.js';

/** A producer that holds a transactional id until another producer opens it. */
export interface TransactionalProducer {
  /**
   * Writes records to any topics in one transaction: readers of committed records see all of them or none.
   * One call at a time. After an error the outcome is unknown, and each later call fails with the same error
   * (kafkajs can't end a transaction twice). Then open another producer, which ends the transaction, and read
   * the log for the outcome.
   *
   * @throws MillraceError `LOG_FENCED` when another producer has taken the id over, `LOG_UNAVAILABLE`
   *   (retriable, with a new producer), `RECORD_TOO_LARGE`, `LOG_REFUSED`, `LOG_UNAUTHORIZED`.
   */
  commit(records: readonly NewRecord[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * Chooses partitions as {@link stickyPartitioner}. kafkajs leaves out records of a partition that it doesn't
 * know, and commits the rest.
 *
 * @throws MillraceError `LOG_UNAVAILABLE`, retriable: brokers learn of an added partition one by one.
 */
const knownPartitions: ICustomPartitioner = () => {
  const choose = stickyPartitioner();
  return (args) => {
    const partition = choose(args);
    if (args.partitionMetadata.some(({ partitionId }) => partitionId === partition)) return partition;
    throw new MillraceError(
      'LOG_UNAVAILABLE',
      `${args.topic} has no partition ${partition}, as far as the brokers know. Add it, or write to another one.`,
    );
  };
};

/**
 * Takes over a transactional id: its earlier holders can commit no more, and their open transactions are
 * aborted.
 *
 * @throws kafkajs' errors.
 */
async function takeOver(
  kafka: Kafka,
  transactionalId: string,
  transactionTimeoutMs: number,
): Promise<Producer> {
  const producer = kafka.producer({
    transactionalId,
    transactionTimeout: transactionTimeoutMs,
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    createPartitioner: knownPartitions,
  });
  try {
    await producer.connect();
    // kafkajs requests the producer id, which is the takeover, with the first transaction.
    await (await producer.transaction()).abort();
    return producer;
  } catch (error) {
    await producer.disconnect().catch(() => undefined);
    throw error;
  }
}

/** @throws MillraceError as {@link TransactionalProducer.commit}. */
export async function openTransactionalProducer(
  kafka: Kafka,
  transactionalId: string,
  transactionTimeoutMs = 60_000,
): Promise<TransactionalProducer> {
  const what = `Writing as ${transactionalId}`;
  const translate = (error: unknown): MillraceError =>
    isFenced(error)
      ? new MillraceError(
          'LOG_FENCED',
          `${what}: another process has taken over, or the transaction took too long. (${messageOf(error)})`,
          { cause: error },
        )
      : toMillraceError(error, what);
  const producer = await takeOver(kafka, transactionalId, transactionTimeoutMs).catch((error: unknown) => {
    throw translate(error);
  });
  let failure: MillraceError | undefined;
  return {
    async commit(records) {
      if (failure !== undefined) throw failure;
      try {
        const transaction = await producer.transaction();
        for (const topicMessages of requests(records))
          await transaction.sendBatch({ acks: -1, topicMessages });
        await transaction.commit();
      } catch (error) {
        failure = translate(error);
        throw failure;
      }
    },
    close: () => producer.disconnect().catch(() => undefined),
  };
}

/** Returns the next offset that a group reads of a partition, as the broker has it: 0 without a commit. */
export type CommittedPosition = (topic: string, partition: number) => Promise<number>;

interface SessionOptions {
  groupId: string;
  topic: string;
  partition: number;
  transactionTimeoutMs: number;
}

/**
 * The exclusive right to write for one input partition: a transactional producer that has fenced all earlier
 * ones.
 */
export interface TransactionSession {
  /** Everything before this offset of the input partition is committed. */
  readonly position: number;
  /**
   * Writes records and the new position as one transaction. After an error its outcome is unknown and the
   * session is unusable (kafkajs can't end a transaction twice): open another, and read its `position`.
   */
  commit(records: NewRecord[], next: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * Fences former owners of the partition, ends their open transactions, and finds the position to continue at.
 */
export async function openSession(
  kafka: Kafka,
  { groupId, topic, partition, transactionTimeoutMs }: SessionOptions,
  committed: CommittedPosition,
): Promise<TransactionSession> {
  const producer = await takeOver(kafka, `${groupId}/${topic}/${partition}`, transactionTimeoutMs);
  const close = (): Promise<void> => producer.disconnect().catch(() => undefined);
  try {
    // Only now no other producer can move the offset any more.
    let position = await committed(topic, partition);
    return {
      get position() {
        return position;
      },
      async commit(records, next) {
        const transaction = await producer.transaction();
        for (const topicMessages of requests(records))
          await transaction.sendBatch({ acks: -1, topicMessages });
        await transaction.sendOffsets({
          consumerGroupId: groupId,
          topics: [{ topic, partitions: [{ partition, offset: String(next) }] }],
        });
        await transaction.commit();
        position = next;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

type TopicMessages = Parameters<Producer['sendBatch']>[0]['topicMessages'];

/**
 * Splits records into requests of a size that suits brokers, in their order: each is an answer to wait for.
 */
function* requests(records: readonly NewRecord[]): Generator<TopicMessages & object> {
  let byTopic = new Map<string, ReturnType<typeof toMessage>[]>();
  let bytes = 0;
  for (const record of records) {
    const size = sizeOf(record);
    if (bytes > 0 && bytes + size > maxBytesPerRequest) {
      yield toTopicMessages(byTopic);
      byTopic = new Map();
      bytes = 0;
    }
    const messages = byTopic.get(record.topic);
    if (messages) messages.push(toMessage(record));
    else byTopic.set(record.topic, [toMessage(record)]);
    bytes += size;
  }
  if (bytes > 0) yield toTopicMessages(byTopic);
}

function toTopicMessages(
  byTopic: Map<string, ReturnType<typeof toMessage>[]>,
): { topic: string; messages: ReturnType<typeof toMessage>[] }[] {
  return [...byTopic].map(([topic, messages]) => ({ topic, messages }));
}

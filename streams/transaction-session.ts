import type { Kafka, Producer } from 'kafkajs';
import { maxBytesPerRequest, maxRecordsPerRequest } from './log-producer.js';
import { stickyPartitioner } from './partitioner.js';
import type { CommittedOffsets } from './progress.js';
import { sizeOf, toMessage } from './records.js';
import type { NewRecord } from './records.js';

interface SessionOptions {
  groupId: string;
  topic: string;
  partition: number;
  transactionTimeoutMs: number;
}

/** The right to write for one input partition: a transactional producer that has locked all earlier ones out. */
export interface TransactionSession {
  /** Everything before this offset of the input partition is committed. */
  readonly position: number;
  /**
   * Writes records and the new position as one transaction. After an error its outcome is unknown and the session
   * of no more use (kafkajs can't end a transaction twice): open another, and look at its `position`.
   */
  commit(records: NewRecord[], next: number): Promise<void>;
  close(): Promise<void>;
}

/** Locks former owners of the partition out, ends what they left open, and finds where to go on. */
export async function openSession(
  kafka: Kafka,
  { groupId, topic, partition, transactionTimeoutMs }: SessionOptions,
  committed: CommittedOffsets,
): Promise<TransactionSession> {
  const producer = kafka.producer({
    transactionalId: `${groupId}/${topic}/${partition}`,
    transactionTimeout: transactionTimeoutMs,
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    createPartitioner: stickyPartitioner,
    // Apache Kafka refuses the next transaction for some milliseconds, until the markers of the last are written.
    retry: { initialRetryTime: 4, maxRetryTime: 500, retries: 12 },
  });
  const close = (): Promise<void> => producer.disconnect().catch(() => undefined);
  try {
    await producer.connect();
    // kafkajs asks for the producer id, which is the takeover, with the first transaction.
    await (await producer.transaction()).abort();
    // Only now is it certain that nobody else can move the offset any more.
    let position = (await committed(topic)).get(partition) ?? 0;
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

function* requests(records: NewRecord[]): Generator<TopicMessages & object> {
  let byTopic = new Map<string, ReturnType<typeof toMessage>[]>();
  let count = 0;
  let bytes = 0;
  for (const record of records) {
    const size = sizeOf(record);
    if (count === maxRecordsPerRequest || (count > 0 && bytes + size > maxBytesPerRequest)) {
      yield toTopicMessages(byTopic);
      byTopic = new Map();
      count = 0;
      bytes = 0;
    }
    const messages = byTopic.get(record.topic);
    if (messages) messages.push(toMessage(record));
    else byTopic.set(record.topic, [toMessage(record)]);
    count++;
    bytes += size;
  }
  if (count > 0) yield toTopicMessages(byTopic);
}

function toTopicMessages(
  byTopic: Map<string, ReturnType<typeof toMessage>[]>,
): { topic: string; messages: ReturnType<typeof toMessage>[] }[] {
  return [...byTopic].map(([topic, messages]) => ({ topic, messages }));
}

import type { Kafka } from 'kafkajs';
import type { NewRecord } from './records.js';
import { requests, takeOver } from './transactional-producer.js';

/** Committed offsets of a group as the broker knows them: per partition of a topic the next offset to read. */
export type CommittedOffsets = (topic: string) => Promise<Map<number, number>>;

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
  const producer = await takeOver(kafka, `${groupId}/${topic}/${partition}`, transactionTimeoutMs);
  const close = (): Promise<void> => producer.disconnect().catch(() => undefined);
  try {
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

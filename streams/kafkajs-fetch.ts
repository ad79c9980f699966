import type { KafkaMessage } from 'kafkajs';
import { maxBatchRecords } from '../platform/batch-compression.js';
import { MillraceError } from '../platform/errors.js';
import { decodeBatch } from './kafkajs-decode.js';
import type { FetchedMessage } from './kafkajs-decode.js';
import { internal } from './kafkajs-modules.js';

interface AbortedTransaction {
  producerId: string;
  firstOffset: string;
}

const abortMarkerKey = Buffer.from([0, 0, 0, 0]);

/**
 * Filters fetched messages for read_committed. kafkajs' own filter assumes that the list of aborted
 * transactions is sorted by first offset (Apache Kafka sorts by marker), enters one of them per message (a
 * fetch can start inside several), and treats a client's key of four zero bytes as an abort marker. Each
 * defect makes aborted messages visible.
 */
export function filterAbortedMessages({
  messages,
  abortedTransactions,
}: {
  messages: FetchedMessage[];
  abortedTransactions?: AbortedTransaction[] | null;
}): FetchedMessage[] {
  if (!abortedTransactions || abortedTransactions.length === 0) return messages;
  const ahead = abortedTransactions
    .map(({ producerId, firstOffset }) => ({ producerId, firstOffset: Number(firstOffset) }))
    .toSorted((a, b) => b.firstOffset - a.firstOffset);
  const aborted = new Set<string>();
  return messages.filter((message) => {
    const offset = Number(message.offset);
    for (let next = ahead.at(-1); next && next.firstOffset <= offset; next = ahead.at(-1)) {
      aborted.add(next.producerId);
      ahead.pop();
    }
    const { producerId, inTransaction } = message.batchContext;
    if (message.isControlRecord) {
      if (message.key?.equals(abortMarkerKey)) aborted.delete(producerId);
      return true;
    }
    return !(inTransaction && aborted.has(producerId));
  });
}

interface Decoder {
  readInt32(): number;
  readBytes(length: number): Buffer;
  canReadBytes(length: number): boolean;
}

/** Bytes from a batch's beginning to the end of its length field, and the minimum of that length. */
const lengthEnd = 12;
const minLength = 49;
const magicOffset = 16;

/**
 * Replaces `push(...records)`, which overflows the stack at about 130,000 records in one batch, and the
 * decoder of batches.
 */
export async function decodeMessages(decoder: Decoder): Promise<KafkaMessage[]> {
  const size = decoder.readInt32();
  if (size <= 0 || !decoder.canReadBytes(size)) return [];
  const bytes = decoder.readBytes(size);
  if (bytes.readInt8(magicOffset) !== 2) {
    const batches: Decoder = new (internal<new (bytes: Buffer) => Decoder>('protocol/decoder'))(bytes);
    return internal<(decoder: Decoder, size: number) => KafkaMessage[]>('protocol/messageSet/decoder')(
      batches,
      size,
    );
  }
  const messages: KafkaMessage[] = [];
  for (let at = 0, end = 0; at + lengthEnd <= bytes.length; at = end) {
    const length = bytes.readInt32BE(at + 8);
    end = at + lengthEnd + length;
    // An answer ends with part of a batch when there is no room for the whole.
    if (length < minLength || end > bytes.length) break;
    const nextOffset = end + 8 <= bytes.length ? Number(bytes.readBigInt64BE(end)) : undefined;
    for (const message of await decodeBatch(bytes.subarray(at, end), nextOffset)) messages.push(message);
    // The rest is fetched again: small batches of many records must not fill the memory.
    if (messages.length >= maxBatchRecords) break;
  }
  // kafkajs would treat it as the compacted end of the log, and skip everything behind.
  if (messages.length === 0 && bytes.length > 0) {
    throw new MillraceError('LOG_DAMAGED', 'A broker answered with bytes that are no batch of records.');
  }
  return messages;
}

/** kafkajs' view of the messages of one partition in the answer to a fetch. */
interface FetchedBatch {
  rawMessages: FetchedMessage[];
  messagesWithinOffset: FetchedMessage[];
  messages: FetchedMessage[];
}

interface PartitionData {
  abortedTransactions: AbortedTransaction[] | null;
  messages: FetchedMessage[];
}

/** Replaces the comparison of every message's offset as a `Long`, and three copies of the messages. */
export function quickBatch(): unknown {
  const Batch =
    internal<new (topic: string, offset: string, data: PartitionData) => FetchedBatch>('consumer/batch');
  return class extends Batch {
    constructor(topic: string, fetchedOffset: string, data: PartitionData) {
      super(topic, fetchedOffset, { ...data, messages: [] });
      const { messages, abortedTransactions } = data;
      const first = Number(fetchedOffset);
      this.rawMessages = messages;
      // A fetch returns whole batches: the first of them may begin before the offset.
      this.messagesWithinOffset =
        Number(messages[0]?.offset) < first
          ? messages.filter(({ offset }) => Number(offset) >= first)
          : messages;
      const visible = filterAbortedMessages({ messages: this.messagesWithinOffset, abortedTransactions });
      this.messages = visible.some(({ isControlRecord }) => isControlRecord)
        ? visible.filter(({ isControlRecord }) => !isControlRecord)
        : visible;
    }
  };
}

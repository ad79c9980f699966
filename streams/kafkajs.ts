import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import type * as kafkajsTypes from 'kafkajs';
import type { KafkaMessage, Message, PartitionerArgs } from 'kafkajs';
import { encodeRecord } from './kafkajs-record.js';
import { MillraceError } from '../platform/errors.js';
import { codecs } from './codecs.js';
import { unreadableHeader } from './records.js';

/**
 * kafkajs 2.2.4 with five of its defects corrected. It has had no release since February 2023, so the corrections
 * take the place of some of its internal functions as it is loaded (its files stay as they are), and a test fails
 * when the version changes, so that they are looked at again.
 */

const require = createRequire(import.meta.url);
const root = dirname(require.resolve('kafkajs/package.json')) + sep;

type FetchedMessage = KafkaMessage & {
  isControlRecord: boolean;
  batchContext: { producerId: string; inTransaction: boolean };
};
interface AbortedTransaction {
  producerId: string;
  firstOffset: string;
}

/**
 * In place of an array copy for every message, which took 10 s for 40,000 messages.
 */
export function groupMessagesPerPartition(options: {
  topic: string;
  partitionMetadata: PartitionerArgs['partitionMetadata'];
  messages: Message[];
  partitioner: (args: PartitionerArgs) => number;
}): Record<number, Message[]> {
  const { topic, partitionMetadata, messages, partitioner } = options;
  const result: Record<number, Message[]> = {};
  if (partitionMetadata.length === 0) return result;
  for (const message of messages) {
    const partition = partitioner({ topic, partitionMetadata, message });
    (result[partition] ??= []).push(message);
  }
  return result;
}

const abortMarkerKey = Buffer.from([0, 0, 0, 0]);

/**
 * What read_committed may see of fetched messages. kafkajs' own filter takes the list of aborted transactions as
 * sorted by first offset (Apache Kafka sorts by marker), steps into one of them per message (a fetch can start
 * inside several), and takes a client's key of four zero bytes for an abort marker: each shows aborted messages.
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

/** Bytes of a batch's header after its length field: fewer are the cut-off tail of an answer. */
const recordBatchOverhead = 49;
const magicOffset = 16;

/**
 * In place of `push(...records)`, which overflows the stack at about 130,000 records in one batch. A batch that can't be
 * decompressed gives records that say so.
 */
async function decodeMessages(decoder: Decoder): Promise<KafkaMessage[]> {
  const size = decoder.readInt32();
  if (size <= 0 || !decoder.canReadBytes(size)) return [];
  const bytes = decoder.readBytes(size);
  const batches: Decoder = new (internal<new (bytes: Buffer) => Decoder>('protocol/decoder'))(bytes);
  if (bytes.readInt8(magicOffset) !== 2)
    return internal<(decoder: Decoder, size: number) => KafkaMessage[]>('protocol/messageSet/decoder')(
      batches,
      size,
    );

  const decodeBatch = internal<(decoder: Decoder) => Promise<{ records: KafkaMessage[] }>>(
    'protocol/recordBatch/v0/decoder',
  );
  const messages: KafkaMessage[] = [];
  for (let at = 0; batches.canReadBytes(recordBatchOverhead); at += 12 + bytes.readInt32BE(at + 8)) {
    try {
      const { records } = await decodeBatch(batches);
      for (const record of records) messages.push(record);
    } catch (error) {
      if (error instanceof Error && error.name === 'KafkaJSPartialMessageError') break;
      if (!(error instanceof MillraceError) || error.code !== 'CODEC_FAILED') throw error;
      for (const record of unreadableRecords(bytes, at, error.message)) messages.push(record);
    }
  }
  return messages;
}

/**
 * Stand-ins for the records of a batch that does not decompress, or to more than is safe. Without them the same fetch
 * would fail for ever, and no record behind the batch would be read. Offsets in a record batch: baseOffset 0 ·
 * attributes 21 · lastOffsetDelta 23 · baseTimestamp 27 · producerId 43.
 */
function* unreadableRecords(bytes: Buffer, at: number, reason: string): Generator<FetchedMessage> {
  const first = bytes.readBigInt64BE(at);
  const count = Math.min(bytes.readInt32BE(at + 23) + 1, 1_000_000);
  const timestamp = String(bytes.readBigInt64BE(at + 27));
  const batchContext = {
    producerId: String(bytes.readBigInt64BE(at + 43)),
    inTransaction: (bytes.readInt16BE(at + 21) & 0x10) !== 0,
  };
  const headers = { [unreadableHeader]: Buffer.from(reason) };
  for (let index = 0; index < count; index++) {
    const offset = String(first + BigInt(index));
    yield {
      offset,
      timestamp,
      key: null,
      value: null,
      headers,
      attributes: 0,
      isControlRecord: false,
      batchContext,
    };
  }
}

interface RequestQueue {
  pending: unknown[];
  scheduleCheckPendingRequests: (this: RequestQueue) => void;
}

/** Stops the timer that runs a thousand times a second on every connection with nothing to send. */
function quietRequestQueue(): void {
  const { prototype } = internal<{ prototype: RequestQueue }>('network/requestQueue/index');
  const { scheduleCheckPendingRequests } = prototype;
  prototype.scheduleCheckPendingRequests = function schedule(this: RequestQueue): void {
    if (this.pending.length > 0) scheduleCheckPendingRequests.call(this);
  };
}

/** One of kafkajs' own modules, by its path under `src/`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows the module's shape
function internal<T>(path: string): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped JavaScript; the tests hold its shape
  return require(`${root}src/${path}.js`) as T;
}

function replace(path: string, exports: unknown): void {
  internal(path);
  const module = require.cache[require.resolve(`${root}src/${path}.js`)];
  if (module) module.exports = exports;
}

function load(): typeof kafkajsTypes {
  // Whatever was loaded before holds the defective functions already.
  for (const path of Object.keys(require.cache)) if (path.startsWith(root)) delete require.cache[path];
  replace('producer/groupMessagesPerPartition', groupMessagesPerPartition);
  replace('consumer/filterAbortedMessages', filterAbortedMessages);
  replace('protocol/requests/fetch/v4/decodeMessages', decodeMessages);
  replace('protocol/recordBatch/record/v0/index', encodeRecord);
  quietRequestQueue();
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the package's own types
  const loaded = require('kafkajs') as typeof kafkajsTypes;
  loaded.CompressionCodecs[loaded.CompressionTypes.GZIP] = codecs.GZIP;
  loaded.CompressionCodecs[loaded.CompressionTypes.Snappy] = codecs.Snappy;
  loaded.CompressionCodecs[loaded.CompressionTypes.LZ4] = codecs.LZ4;
  loaded.CompressionCodecs[loaded.CompressionTypes.ZSTD] = codecs.ZSTD;
  return loaded;
}

export const kafkajs = load();

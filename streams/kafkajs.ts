import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { dirname, sep } from 'node:path';
import type * as kafkajsTypes from 'kafkajs';
import type { KafkaMessage, Message, PartitionerArgs } from 'kafkajs';
import { maxBatchRecords } from '../platform/batch-compression.js';
import { MillraceError } from '../platform/errors.js';
import { codecs } from './codecs.js';
import { type CoordinatorCluster, patientCoordinators } from './kafkajs-coordinators.js';
import { decodeBatch } from './kafkajs-decode.js';
import type { FetchedMessage } from './kafkajs-decode.js';
import { encodeBatch } from './kafkajs-encode.js';
import type { RecordFields } from './kafkajs-encode.js';
import { encodeProduce, type ProduceFields, type RequestFields, withHeader } from './kafkajs-produce.js';

/**
 * kafkajs 2.2.4 with corrections of its defects and replacements of its slowest parts. Its last release was
 * in February 2023. So the corrections replace some of its internal functions when it is loaded (its files
 * stay unchanged), and a test fails when the version changes, so that they are reviewed.
 */

const require = createRequire(import.meta.url);
const root = dirname(require.resolve('kafkajs/package.json')) + sep;

interface AbortedTransaction {
  producerId: string;
  firstOffset: string;
}

/** Replaces an array copy for every message, which took 10 s for 40,000 messages. */
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
async function decodeMessages(decoder: Decoder): Promise<KafkaMessage[]> {
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
function quickBatch(): unknown {
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

interface Encoder {
  buf: Buffer;
  offset: number;
  ensureAvailable(this: Encoder, length: number): void;
}

/**
 * A growing buffer without zeroing: a request of a megabyte goes through five encoders, and only written
 * bytes are sent.
 */
function growUnzeroed(): void {
  const { prototype } = internal<{ prototype: Encoder }>('protocol/encoder');
  prototype.ensureAvailable = function ensureAvailable(this: Encoder, length: number): void {
    const needed = this.offset + length;
    if (needed <= this.buf.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.buf.length));
    this.buf.copy(grown, 0, 0, this.offset);
    this.buf = grown;
  };
}

type MakeRequest = (fields: ProduceFields) => RequestFields['request'];

/** Replaces five copies of the records of a produce request. */
function encodeProduceInPlace(): void {
  const path = 'protocol/requests/produce/v3/request';
  const makeRequest = internal<MakeRequest>(path);
  replace(path, (fields: ProduceFields) =>
    fields.compression
      ? makeRequest(fields)
      : { ...makeRequest(fields), encode: () => Promise.resolve(encodeProduce(fields)) },
  );
  const encodeRequest = internal<(fields: RequestFields) => Promise<{ buffer: Buffer }>>('protocol/request');
  replace('protocol/request', async (fields: RequestFields) => {
    const body = await fields.request.encode();
    const request = { ...fields.request, encode: () => Promise.resolve(body) };
    return withHeader(body, fields) ?? encodeRequest({ ...fields, request });
  });
}

interface RequestQueue {
  pending: unknown[];
  scheduleCheckPendingRequests: (this: RequestQueue) => void;
}

/** Stops the timer that runs a thousand times a second on every idle connection. */
function quietRequestQueue(): void {
  const { prototype } = internal<{ prototype: RequestQueue }>('network/requestQueue/index');
  const { scheduleCheckPendingRequests } = prototype;
  prototype.scheduleCheckPendingRequests = function schedule(this: RequestQueue): void {
    if (this.pending.length > 0) scheduleCheckPendingRequests.call(this);
  };
}

interface Connection {
  socket?: Socket;
  disconnect: (this: Connection) => Promise<boolean>;
}

/**
 * During an outage a connection is closed repeatedly, and `unref` of a closed socket leaves a listener each
 * time.
 */
function leaveDeadSocketsAlone(): void {
  const { prototype } = internal<{ prototype: Connection }>('network/connection');
  const { disconnect } = prototype;
  prototype.disconnect = function disconnectOnce(this: Connection): Promise<boolean> {
    const { socket } = this;
    if (socket?.destroyed) socket.unref = () => socket;
    return disconnect.call(this);
  };
}

type CreateEosManager = (options: { cluster: CoordinatorCluster }) => unknown;

/** Spares a transaction four of its nine requests, and failures that a moment resolves. */
function waitForCoordinators(): void {
  const path = 'producer/eosManager/index';
  const create = internal<CreateEosManager>(path);
  replace(path, (options: { cluster: CoordinatorCluster }) =>
    create({ ...options, cluster: patientCoordinators(options.cluster) as CoordinatorCluster }),
  );
}

type Retrier = (send: (fail: (error: Error) => void) => Promise<unknown>) => Promise<unknown>;
interface SendOptions {
  eosManager: { isTransactional(): boolean };
  retrier: Retrier;
}

/**
 * Lets a transaction fail when one of its leaders fails. kafkajs' retry asks for the leaders again: it writes
 * records a second time whose leader has not answered yet or has changed, and leaves out those whose new
 * leader has answered before.
 */
function sendOnceInTransactions(): void {
  const path = 'producer/sendMessages';
  const create = internal<(options: SendOptions) => unknown>(path);
  const once: Retrier = (send) =>
    new Promise((resolve, reject) => {
      send(reject).then(resolve, reject);
    });
  replace(path, (options: SendOptions) =>
    create(options.eosManager.isTransactional() ? { ...options, retrier: once } : options),
  );
}

/** Loads one of kafkajs' own modules, by its path under `src/`. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows the module's shape
export function internal<T>(path: string): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped JavaScript; the tests hold its shape
  return require(`${root}src/${path}.js`) as T;
}

function replace(path: string, exports: unknown): void {
  internal(path);
  const module = require.cache[require.resolve(`${root}src/${path}.js`)];
  if (module) module.exports = exports;
}

function load(): typeof kafkajsTypes {
  // Modules loaded before hold the defective functions already.
  for (const path of Object.keys(require.cache)) if (path.startsWith(root)) delete require.cache[path];
  replace('producer/groupMessagesPerPartition', groupMessagesPerPartition);
  replace('consumer/filterAbortedMessages', filterAbortedMessages);
  replace('protocol/requests/fetch/v4/decodeMessages', decodeMessages);
  replace('protocol/recordBatch/record/v0/index', (record: RecordFields) => record);
  replace('protocol/recordBatch/v0/index', { RecordBatch: encodeBatch });
  replace('consumer/batch', quickBatch());
  encodeProduceInPlace();
  growUnzeroed();
  quietRequestQueue();
  leaveDeadSocketsAlone();
  waitForCoordinators();
  sendOnceInTransactions();
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the package's own types
  const loaded = require('kafkajs') as typeof kafkajsTypes;
  loaded.CompressionCodecs[loaded.CompressionTypes.GZIP] = codecs.GZIP;
  loaded.CompressionCodecs[loaded.CompressionTypes.Snappy] = codecs.Snappy;
  loaded.CompressionCodecs[loaded.CompressionTypes.LZ4] = codecs.LZ4;
  loaded.CompressionCodecs[loaded.CompressionTypes.ZSTD] = codecs.ZSTD;
  return loaded;
}

export const kafkajs = load();

import type { Socket } from 'node:net';
import type * as kafkajsTypes from 'kafkajs';
import type { Message, PartitionerArgs } from 'kafkajs';
import { messageOf } from '../platform/errors.js';
import { codecs } from './codecs.js';
import { Rejoin } from './kafka-errors.js';
import { type CoordinatorCluster, patientCoordinators } from './kafkajs-coordinators.js';
import { encodeBatch } from './kafkajs-encode.js';
import type { RecordFields } from './kafkajs-encode.js';
import { decodeMessages, filterAbortedMessages, quickBatch } from './kafkajs-fetch.js';
import { internal, replace, require, unload } from './kafkajs-modules.js';
import { encodeProduce, type ProduceFields, type RequestFields, withHeader } from './kafkajs-produce.js';

/**
 * kafkajs 2.2.4 with corrections of its defects and replacements of its slowest parts. Its last release was
 * in February 2023. So the corrections replace some of its internal functions when it is loaded (its files
 * stay unchanged), and a test fails when the version changes, so that they are reviewed.
 */

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

interface ConsumerGroup {
  recoverFromFetch: (this: ConsumerGroup, error: unknown) => Promise<void>;
  joinAndSync: () => Promise<void>;
}

/**
 * Lets the batches of a member end before it joins its group again. When a leader has changed, kafkajs joins
 * within the fetch that was told so, while batches of other leaders go on: their records would count as those
 * of the new generation.
 */
function joinBetweenFetches(): void {
  const { prototype } = internal<{ prototype: ConsumerGroup }>('consumer/consumerGroup');
  const { recoverFromFetch } = prototype;
  prototype.recoverFromFetch = function recover(this: ConsumerGroup, cause: unknown): Promise<void> {
    const rejoin = new Rejoin(
      `The partitions of a topic, or their leaders, have changed: ${messageOf(cause)}`,
    );
    // oxlint-disable-next-line promise/no-promise-in-callback -- `cause` is no callback's error
    const joinAndSync = (): Promise<void> => Promise.reject(rejoin);
    return recoverFromFetch.call(Object.create(this, { joinAndSync: { value: joinAndSync } }), cause);
  };
}

function load(): typeof kafkajsTypes {
  unload();
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
  joinBetweenFetches();
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the package's own types
  const loaded = require('kafkajs') as typeof kafkajsTypes;
  loaded.CompressionCodecs[loaded.CompressionTypes.GZIP] = codecs.GZIP;
  loaded.CompressionCodecs[loaded.CompressionTypes.Snappy] = codecs.Snappy;
  loaded.CompressionCodecs[loaded.CompressionTypes.LZ4] = codecs.LZ4;
  loaded.CompressionCodecs[loaded.CompressionTypes.ZSTD] = codecs.ZSTD;
  return loaded;
}

export const kafkajs = load();

// For what needs the modules after their replacement.
export { internal };

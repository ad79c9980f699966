/* oxlint-disable typescript/no-unsafe-type-assertion -- messages with only what the filter looks at */
import type { KafkaMessage } from 'kafkajs';
import { encodeRecords } from '../embedded/kafka/protocol/records.js';
import { createRequire } from 'node:module';
import { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { maxBatchRecords } from '../platform/batch-compression.js';
import { crc32c } from '../platform/crc32c.js';
import { decodeBatch } from './kafkajs-decode.js';
import { groupMessagesPerPartition, kafkajs } from './kafkajs.js';
import { filterAbortedMessages } from './kafkajs-fetch.js';

const require = createRequire(import.meta.url);

test('the corrections apply to kafkajs 2.2.4: review each for another version', () => {
  expect(require('kafkajs/package.json').version).toBe('2.2.4');
});

test('kafkajs works with the corrected functions', () => {
  expect(kafkajs.Kafka).toBeTypeOf('function');
  expect(require('kafkajs/src/producer/groupMessagesPerPartition')).toBe(groupMessagesPerPartition);
  expect(require('kafkajs/src/consumer/filterAbortedMessages')).toBe(filterAbortedMessages);
});

const request = (correlationId: number): object => ({
  entry: { correlationId, resolve: () => undefined, reject: () => undefined },
  expectResponse: true,
  sendRequest: () => undefined,
});

test('an idle connection sets no timer; one with requests waiting does', () => {
  const RequestQueue = require('kafkajs/src/network/requestQueue');
  const logger = { debug: () => undefined };
  const queue = new RequestQueue({ maxInFlightRequests: 1, requestTimeout: 1_000, logger });
  queue.checkPendingRequests();
  expect(queue.throttleCheckTimeoutId).toBeNull();
  queue.push(request(1));
  expect(queue.throttleCheckTimeoutId).toBeNull();
  queue.push(request(2));
  expect(queue.throttleCheckTimeoutId).not.toBeNull();
  queue.destroy();
});

test('repeated closing of a connection leaves no listeners', async () => {
  const Connection = require('kafkajs/src/network/connection');
  const logger = { debug: () => undefined };
  const connection = new Connection({ host: 'none', port: 1, logger: { namespace: () => logger } });
  connection.socket = new Socket().destroy();
  for (let times = 0; times < 20; times++) await connection.disconnect();
  expect(connection.socket.listenerCount('connect')).toBe(0);
});

test('grouping 300,000 messages for one partition takes negligible time', () => {
  const messages = Array.from({ length: 300_000 }, (_, index) => ({ value: String(index) }));
  const partitionMetadata = [{ partitionId: 0, leader: 1, replicas: [], isr: [], partitionErrorCode: 0 }];
  const started = performance.now();
  const grouped = groupMessagesPerPartition({
    topic: 't',
    partitionMetadata,
    messages,
    partitioner: () => 0,
  });
  const duration = performance.now() - started;
  expect(grouped).toEqual({ 0: messages });
  expect(duration).toBeLessThan(5_000);
  expect(
    groupMessagesPerPartition({ topic: 't', partitionMetadata: [], messages, partitioner: () => 0 }),
  ).toEqual({});
});

test('a record set with one batch of the maximum number of records is decoded', async () => {
  const Encoder = require('kafkajs/src/protocol/encoder');
  const Decoder = require('kafkajs/src/protocol/decoder');
  const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0');
  const Record = require('kafkajs/src/protocol/recordBatch/record/v0');
  const decodeMessages = require('kafkajs/src/protocol/requests/fetch/v4/decodeMessages');
  const count = maxBatchRecords;
  const records = Array.from({ length: count }, (_, index) => Record({ offsetDelta: index, value: 'v' }));
  const batch = await RecordBatch({
    records,
    firstTimestamp: 0,
    maxTimestamp: 0,
    lastOffsetDelta: count - 1,
  });
  const recordSet = new Encoder().writeInt32(batch.size()).writeEncoder(batch);
  const messages = await decodeMessages(new Decoder(recordSet.buffer));
  expect(messages).toHaveLength(count);
  expect(messages.at(-1).offset).toBe(String(count - 1));
});

describe('an unreadable batch', () => {
  const three = () =>
    encodeRecords(
      [1, 2, 3].map((n) => ({ key: null, value: Buffer.from(`lost ${n}`) })),
      2_000,
    );
  const resealed = (batch: Buffer, change: (batch: Buffer) => void): Buffer => {
    change(batch);
    batch.writeUInt32BE(crc32c(batch, 21), 17);
    return batch;
  };

  /** Good records at 10 and 14, and the batch between them. */
  async function decodeBetween(bad: Buffer): Promise<KafkaMessage[]> {
    const Decoder = require('kafkajs/src/protocol/decoder');
    const decodeMessages = require('kafkajs/src/protocol/requests/fetch/v4/decodeMessages');
    const good = encodeRecords([{ key: null, value: Buffer.from('good') }], 1_000);
    const batches = [good, bad, good].map((batch, index) => {
      const placed = Buffer.from(batch);
      placed.writeBigInt64BE([10n, 11n, 14n][index] ?? 0n, 0);
      return placed;
    });
    const set = Buffer.concat(batches);
    const size = Buffer.alloc(4);
    size.writeInt32BE(set.length);
    return (await decodeMessages(new Decoder(Buffer.concat([size, set])))) as KafkaMessage[];
  }

  test.each<[string, (batch: Buffer) => Buffer, RegExp]>([
    ['for its codec', (batch) => resealed(batch, (each) => each.writeInt16BE(1, 21)), /as the gzip that/],
    ['for its checksum', (batch) => (batch.writeInt8(99, batch.length - 3), batch), /checksum/],
    ['for a damaged count of offsets', (batch) => (batch.writeInt32BE(2 ** 30, 23), batch), /checksum/],
    [
      'for an offset behind its end',
      (batch) => resealed(batch, (each) => each.writeInt8(6, 64)),
      /offset outside/,
    ],
    [
      'for an offset that comes twice',
      (batch) => resealed(batch, (each) => each.writeInt8(0, each.length - 10)),
      /outside/,
    ],
    ['for a negative offset', (batch) => resealed(batch, (each) => each.writeInt8(1, 64)), /offset outside/],
    [
      'for a record more',
      (batch) => resealed(batch, (each) => each.writeInt32BE(2, 57)),
      /more than the records/,
    ],
    [
      'for a record less',
      (batch) => resealed(batch, (each) => each.writeInt32BE(4, 57)),
      /as long as they say/,
    ],
    [
      'for millions of records',
      (batch) => resealed(batch, (each) => each.writeInt32BE(9_000_000, 57)),
      /holds 9000000 records, and at most 300000 are read/,
    ],
  ])('%s becomes one message with the reason, and the next batch is read', async (_why, damage, reason) => {
    const messages = await decodeBetween(damage(three()));
    expect(messages.map(({ offset, value }) => [offset, value?.toString()])).toEqual([
      ['10', 'good'],
      ['13', undefined],
      ['14', 'good'],
    ]);
    const headers = messages[1]?.headers;
    expect(String(headers?.['millrace-unreadable'])).toMatch(
      /^The batch of the offsets 11 to 13 can't be read: /,
    );
    expect(String(headers?.['millrace-unreadable'])).toMatch(reason);
    expect(headers?.['millrace-unreadable-bytes']?.length).toBeGreaterThan(61);
    expect(messages[1]?.timestamp).toBe('2000');
  });

  test('with an unknown end stops the reading, so that nothing behind it is skipped', async () => {
    const bad = three();
    bad.writeInt32BE(2 ** 30, 23);
    await expect(decodeBatch(bad)).rejects.toMatchObject({ code: 'LOG_DAMAGED', retriable: true });
    bad.writeInt32BE(-5, 8);
    const set = Buffer.concat([Buffer.alloc(4), bad]);
    set.writeInt32BE(bad.length);
    const Decoder = require('kafkajs/src/protocol/decoder');
    const decodeMessages = require('kafkajs/src/protocol/requests/fetch/v4/decodeMessages');
    await expect(decodeMessages(new Decoder(set))).rejects.toMatchObject({ code: 'LOG_DAMAGED' });
  });
});

test('after compaction removed the end of a batch, the position is behind it', async () => {
  const batch = encodeRecords([{ key: null, value: Buffer.from('kept') }], 1_000);
  batch.writeInt32BE(41, 23);
  batch.writeUInt32BE(crc32c(batch, 21), 17);
  const messages = await decodeBatch(batch);
  expect(messages.map(({ offset, isControlRecord }) => [offset, isControlRecord])).toEqual([
    ['0', false],
    ['41', true],
  ]);
  batch.writeInt32BE(0, 57);
  const empty = Buffer.concat([batch.subarray(0, 61)]);
  empty.writeInt32BE(49, 8);
  empty.writeUInt32BE(crc32c(empty, 21), 17);
  expect((await decodeBatch(empty)).map(({ offset }) => offset)).toEqual(['41']);
});

describe('aborted messages', () => {
  type Messages = Parameters<typeof filterAbortedMessages>[0]['messages'];
  const message = (offset: number, producer: string, extra: object = {}): Messages[0] =>
    ({
      offset: String(offset),
      key: null,
      isControlRecord: false,
      batchContext: { producerId: producer, inTransaction: true },
      ...extra,
    }) as Messages[0];
  const marker = (offset: number, producer: string, type: 'abort' | 'commit'): Messages[0] =>
    message(offset, producer, {
      isControlRecord: true,
      key: Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1]),
    });
  const seen = (messages: Messages, aborted: [string, number][]): number[] =>
    filterAbortedMessages({
      messages,
      abortedTransactions: aborted.map(([producerId, first]) => ({ producerId, firstOffset: String(first) })),
    })
      .filter(({ isControlRecord }) => !isControlRecord)
      .map(({ offset }) => Number(offset));

  const overlapping = [
    message(10, 'a'),
    message(11, 'b'),
    message(12, 'a'),
    marker(13, 'b', 'abort'),
    marker(14, 'a', 'abort'),
    message(15, 'a'),
    marker(16, 'a', 'commit'),
  ];

  test('are hidden when the list is sorted by marker', () => {
    expect(
      seen(overlapping, [
        ['b', 11],
        ['a', 10],
      ]),
    ).toEqual([15]);
  });

  test('are hidden when reading starts inside two of them', () => {
    expect(
      seen(overlapping.slice(1), [
        ['a', 3],
        ['b', 5],
      ]),
    ).toEqual([15]);
  });

  test('end at an abort marker, not at a similar key', () => {
    const fake = message(11, 'a', { key: Buffer.from([0, 0, 0, 0]) });
    expect(seen([message(10, 'a'), fake, message(12, 'a'), marker(13, 'a', 'abort')], [['a', 10]])).toEqual(
      [],
    );
  });

  test('do not affect other producers, and messages outside transactions', () => {
    const plain = message(11, 'a', { batchContext: { producerId: 'a', inTransaction: false } });
    expect(seen([message(10, 'a'), plain, message(12, 'b'), marker(13, 'a', 'abort')], [['a', 10]])).toEqual([
      11, 12,
    ]);
  });

  test('of a later transaction of the same producer are hidden again', () => {
    const messages = [
      message(1, 'a'),
      marker(2, 'a', 'abort'),
      message(3, 'a'),
      marker(4, 'a', 'commit'),
      message(5, 'a'),
    ];
    expect(
      seen(messages, [
        ['a', 1],
        ['a', 5],
      ]),
    ).toEqual([3]);
  });
});

import { createRequire } from 'node:module';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c } from '../platform/crc32c.js';
import { decodeBatch } from './kafkajs-decode.js';
import { type BatchFields, encodeBatch } from './kafkajs-encode.js';

const require = createRequire(import.meta.url);
interface Theirs {
  buffer: Buffer;
}
const theirRecord: (fields: object) => Theirs = require('kafkajs/src/protocol/recordBatch/record/v0');
const {
  RecordBatch: theirBatch,
}: { RecordBatch: (fields: object) => Promise<Theirs> } = require('kafkajs/src/protocol/recordBatch/v0');
const Decoder = require('kafkajs/src/protocol/decoder');
const theirDecoder: (
  decoder: object,
) => Promise<{ records: object[] }> = require('kafkajs/src/protocol/recordBatch/v0/decoder');

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const text = fc.string({ unit: 'binary', maxLength: 100 });
// kafkajs treats inherited members of objects as an earlier header of that name.
const headerName = text.filter((name) => !(name in {}));
const headerValue = fc.oneof(bytes, text);
const record = fc.record({
  offsetDelta: fc.nat(),
  timestampDelta: fc.integer({ min: -(2 ** 50), max: 2 ** 50 - 1 }),
  key: fc.oneof(fc.constant(null), bytes, text),
  value: fc.oneof(fc.constant(null), bytes),
  headers: fc.dictionary(
    headerName,
    fc.oneof(headerValue, fc.array(headerValue, { minLength: 1, maxLength: 3 })),
    {
      noNullPrototype: true,
    },
  ),
});
const batch = fc.record({
  firstOffset: fc.nat(),
  firstTimestamp: fc.nat({ max: 2 ** 50 }),
  maxTimestamp: fc.nat({ max: 2 ** 50 }),
  partitionLeaderEpoch: fc.nat(),
  lastOffsetDelta: fc.nat(),
  transactional: fc.boolean(),
  producerId: fc.nat().map(String),
  producerEpoch: fc.nat({ max: 2 ** 15 - 1 }),
  firstSequence: fc.nat(),
  records: fc.array(record, { maxLength: 5 }),
});

const encode = async (fields: BatchFields): Promise<Buffer> => (await encodeBatch(fields)).buffer;

test('encodes the same bytes as kafkajs', async () => {
  await fc.assert(
    fc.asyncProperty(batch, async (fields) => {
      const theirs = await theirBatch({ ...fields, records: fields.records.map(theirRecord) });
      expect(await encode(fields)).toEqual(theirs.buffer);
    }),
    { numRuns: 500 },
  );
});

test('decodes the same records as kafkajs', async () => {
  await fc.assert(
    fc.asyncProperty(batch, fc.nat({ max: 2 ** 20 }), async (fields, gap) => {
      // Compaction leaves gaps between records, and after the last.
      const spread = fields.records.map((each, index) => ({ ...each, offsetDelta: 2 * index }));
      const lastOffsetDelta = 2 * spread.length + gap;
      const encoded = await encode({ ...fields, records: spread, lastOffsetDelta });
      const { records } = await theirDecoder(new Decoder(encoded));
      const decoded = await decodeBatch(encoded);
      const end = decoded.pop();
      expect(end).toMatchObject({ isControlRecord: true });
      expect(Number(end?.offset)).toBe(fields.firstOffset + lastOffsetDelta);
      expect(decoded).toHaveLength(records.length);
      for (const [index, message] of decoded.entries())
        expect(records[index]).toMatchObject({ ...message, headers: { ...message.headers } });
    }),
    { numRuns: 500 },
  );
});

const headers = { name: 'value' };

test('a batch with gzip is read back, and its checksum covers the compressed bytes', async () => {
  const encoded = await encode({
    compression: 1,
    records: [{ key: null, value: Buffer.alloc(10_000), headers }],
  });
  expect(encoded.length).toBeLessThan(500);
  const [message] = await decodeBatch(encoded);
  expect(message?.value).toEqual(Buffer.alloc(10_000));
  expect(encoded.readUInt32BE(17)).toBe(crc32c(encoded, 21));
});

test('a header without a value, which kafkajs can only read, is one of no bytes', async () => {
  const encoded = await encode({ records: [{ key: null, value: null, headers: { none: undefined } }] });
  expect(encoded.subarray(61)).toEqual(Buffer.from([24, 0, 0, 0, 1, 1, 2, 8, ...Buffer.from('none'), 1]));
  const [message] = await decodeBatch(encoded);
  expect(message?.headers?.['none']).toEqual(Buffer.alloc(0));
});

test('a header may have the name of an object member', async () => {
  const named = Object.fromEntries(['__proto__', 'toString', 'constructor'].map((name) => [name, name]));
  const [message] = await decodeBatch(
    await encode({ records: [{ key: null, value: null, headers: named }] }),
  );
  expect(Object.keys(message?.headers ?? {})).toEqual(Object.keys(named));
  expect(String(message?.headers?.['__proto__'])).toBe('__proto__');
  expect(String(message?.headers?.['constructor'])).toBe('constructor');
  expect(message?.headers?.['valueOf']).toBeUndefined();
});

test('a record has no headers but its own, and equal values are shared', async () => {
  const given = [{ same: 'value', id: '1' }, { same: 'value', id: '2' }, {}];
  const records = given.map((each, offsetDelta) => ({
    key: null,
    value: null,
    offsetDelta,
    headers: each,
  }));
  const messages = await decodeBatch(await encode({ records, lastOffsetDelta: 2 }));
  const [first, second, third] = messages.map((each) => ({ ...each.headers }));
  expect(second?.['same']).toBe(first?.['same']);
  expect([first?.['id'], second?.['id']].map(String)).toEqual(['1', '2']);
  expect(third).toEqual({});
  for (const name of ['constructor', 'toString', 'same'])
    expect(messages[2]?.headers?.[name]).toBeUndefined();
});

test('records do not share header names', async () => {
  const names = [['ab', 'c'], ['ab', 'd'], ['a', 'bc'], [], ['ab', 'c']];
  const records = names.map((each, offsetDelta) => ({
    key: null,
    value: null,
    offsetDelta,
    headers: Object.fromEntries(each.map((name) => [name, 'v'])),
  }));
  const messages = await decodeBatch(await encode({ records, lastOffsetDelta: names.length - 1 }));
  expect(messages.map((message) => Object.keys(message.headers ?? {}))).toEqual(names);
});

test('a batch whose records contradict their header is replaced by a message with the reason', async () => {
  const records = [1, 2].map((_, offsetDelta) => ({
    key: 'key',
    value: Buffer.from('value'),
    offsetDelta,
    headers,
  }));
  const good = await encode({ firstOffset: 7, lastOffsetDelta: 1, records });
  for (let at = 61; at < good.length; at++) {
    for (const byte of [0xff, 0x7f, 0x01]) {
      const bad = Buffer.from(good);
      bad[at] = byte;
      bad.writeUInt32BE(crc32c(bad, 21), 17);
      const messages = await decodeBatch(bad);
      const isUnreadable = messages.some((message) => message.headers?.['millrace-unreadable']);
      expect(messages.map(({ offset }) => offset)).toEqual(isUnreadable ? ['8'] : ['7', '8']);
    }
  }
});

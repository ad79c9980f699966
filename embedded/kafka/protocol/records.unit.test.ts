import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { buildBatch, headerLength, isIntact, placeBatch, readHeader } from './record-batch.js';
import { decodeRecords, encodeMarker, encodeRecords, isCommitMarker } from './records.js';

const records = [
  { key: Buffer.from('a'), value: Buffer.from('one') },
  { key: Buffer.from('b'), value: null },
  { key: null, value: Buffer.alloc(300, 'x') },
];

test('records read back as written, with their offsets', () => {
  const batch = encodeRecords(records, 1234);
  placeBatch(batch, 2 ** 40);
  expect(isIntact(batch, 0, batch.length)).toBe(true);
  const decoded = decodeRecords(batch, readHeader(batch)) ?? [];
  expect(decoded.map(({ key, value }) => ({ key, value }))).toEqual(records);
  expect(decoded.map(({ offset }) => offset)).toEqual([2 ** 40, 2 ** 40 + 1, 2 ** 40 + 2]);
  expect(decoded.map(({ timestamp }) => timestamp)).toEqual([1234, 1234, 1234]);
});

test('gzip is decoded, invalid content is opaque', () => {
  const plain = encodeRecords(records, 0);
  const header = { ...readHeader(plain), lastOffsetDelta: 2 };
  const zipped = buildBatch({ ...header, attributes: 1 }, gzipSync(plain.subarray(headerLength)));
  expect(decodeRecords(zipped, readHeader(zipped))).toHaveLength(3);
  const snappy = buildBatch({ ...header, attributes: 2 }, Buffer.from('anything'));
  expect(decodeRecords(snappy, readHeader(snappy))).toBeUndefined();
  const broken = buildBatch({ ...header, count: 4 }, plain.subarray(headerLength));
  expect(decodeRecords(broken, readHeader(broken))).toBeUndefined();
});

test('a flipped bit anywhere under the CRC is noticed', () => {
  const batch = encodeRecords(records, 0);
  for (const at of [21, 40, headerLength, batch.length - 1]) {
    const broken = Buffer.from(batch);
    broken[at] = (broken[at] ?? 0) ^ 4;
    expect(isIntact(broken, 0, broken.length)).toBe(false);
  }
  expect(isIntact(batch, 0, batch.length - 1)).toBe(false);
});

test('markers contain their decision', () => {
  for (const committed of [true, false]) {
    const marker = encodeMarker(7, 3, committed, 99);
    expect(readHeader(marker)).toMatchObject({
      producerId: 7,
      producerEpoch: 3,
      baseSequence: -1,
      count: 1,
      attributes: 0x30,
    });
    expect(isCommitMarker(marker, readHeader(marker))).toBe(committed);
  }
});

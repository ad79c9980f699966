import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { maxBatchRecords } from '../../../platform/batch-compression.js';
import { ErrorCode } from '../protocol/error-codes.js';
import {
  buildBatch,
  headerLength,
  lastOffsetDeltaAt,
  readHeader,
  sealBatch,
} from '../protocol/record-batch.js';
import { encodeRecords } from '../protocol/records.js';
import { refusalOfBatch } from './batch-checks.js';
import { logConfig } from './topic-config.js';

const config = logConfig({});
const compacted = logConfig({ 'cleanup.policy': 'compact' });

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value >= 0n ? value * 2n : -value * 2n - 1n;
  for (; rest >= 128n; rest /= 128n) bytes.push(Number(rest % 128n) | 128);
  return [...bytes, Number(rest)];
}

/**
 * Records with these inner offsets, a null key, an empty value, and the bytes that follow (by default: no
 * header).
 */
function batchOf(
  offsets: readonly bigint[],
  { count = offsets.length, tail = [0] as number[], codec = 0 } = {},
): Buffer {
  const records = offsets.map((offset) => {
    const body = [0, 0, ...varint(offset), 1, 0, ...tail];
    return Buffer.from([...varint(BigInt(body.length)), ...body]);
  });
  const content = Buffer.concat(records);
  const header = readHeader(encodeRecords([{ key: null, value: null }], 1_000));
  return buildBatch(
    { ...header, attributes: codec, count, lastOffsetDelta: count - 1 },
    codec === 1 ? gzipSync(content) : content,
  );
}

describe('a batch is refused', () => {
  it.each<[string, Buffer]>([
    ['with an inner offset far ahead', batchOf([1000n])],
    [
      'with an inner offset that JavaScript cannot tell from its neighbour',
      batchOf([9_007_199_254_740_993n]),
    ],
    ['with an inner offset before its beginning', batchOf([-1000n])],
    ['with inner offsets that are all the same', batchOf([0n, 0n, 0n])],
    ['with inner offsets in another order', batchOf([0n, 2n, 1n])],
    ['with a gap', batchOf([0n, 2n])],
    ['with fewer records than it counts', batchOf([0n], { count: 2 })],
    ['with more records than it counts', batchOf([0n, 1n], { count: 1 })],
    ['with a header count below zero', batchOf([0n], { tail: [1] })],
    ['with fewer headers than it counts', batchOf([0n], { tail: [4, 0, 1] })],
    ['with a header without a name', batchOf([0n], { tail: [2, 1, 1] })],
    ['with bytes behind the fields of a record', batchOf([0n], { tail: [0, 7] })],
    ['with a million of records in a few bytes', bomb(1_000_000)],
    ['with one record more than is taken', bomb(maxBatchRecords + 1)],
    ['with millions of headers in one record', headerBomb(3_000_000)],
  ])('%s', (_what, batch) => {
    expect(batch.length).toBeLessThan(1_000_000);
    expect(refusalOfBatch(batch, config)).toBe(ErrorCode.INVALID_RECORD);
  });

  it('without a key if the topic is compacted', () => {
    expect(refusalOfBatch(batchOf([0n]), compacted)).toBe(ErrorCode.INVALID_RECORD);
    const keyed = encodeRecords([{ key: Buffer.from('k'), value: null }], 1_000);
    expect(refusalOfBatch(keyed, compacted)).toBe(ErrorCode.NONE);
  });
});

it('accepts valid plain and compressed batches', () => {
  expect(refusalOfBatch(batchOf([0n, 1n, 2n]), config)).toBe(ErrorCode.NONE);
  expect(refusalOfBatch(batchOf([0n, 1n, 2n], { codec: 1 }), config)).toBe(ErrorCode.NONE);
  expect(refusalOfBatch(batchOf([0n], { tail: [4, 2, 97, 1, 0, 2, 98] }), config)).toBe(ErrorCode.NONE);
});

it.each([-100, 3, 100])(
  'refuses a last offset (%i) that its records do not have, whatever the base offset',
  (delta) => {
    const batch = batchOf([0n]);
    batch.writeInt32BE(delta, lastOffsetDeltaAt);
    batch.writeBigInt64BE(2n ** 62n, 0);
    sealBatch(batch);
    expect(refusalOfBatch(batch, config)).toBe(ErrorCode.INVALID_RECORD);
  },
);

it('refuses a timestamp without an end', () => {
  const body = [0, ...Array.from({ length: 200 }, () => 0xff), 1, 0, 1, 0, 0];
  const content = Buffer.from([...varint(BigInt(body.length)), ...body]);
  const header = readHeader(encodeRecords([{ key: null, value: null }], 1_000));
  const batch = buildBatch({ ...header, attributes: 0, count: 1, lastOffsetDelta: 0 }, content);
  expect(refusalOfBatch(batch, config)).toBe(ErrorCode.INVALID_RECORD);
});

/** Identical records, which are tiny when compressed. */
function bomb(count: number): Buffer {
  const record = Buffer.from([12, 0, 0, 0, 1, 1, 0]);
  return compressed(Buffer.alloc(record.length * count, record), count);
}

function headerBomb(headers: number): Buffer {
  const body = Buffer.concat([
    Buffer.from([0, 0, 0, 1, 1, ...varint(BigInt(headers))]),
    Buffer.alloc(2 * headers, Buffer.from([0, 1])),
  ]);
  return compressed(Buffer.concat([Buffer.from(varint(BigInt(body.length))), body]), 1);
}

function compressed(content: Buffer, count: number): Buffer {
  const header = readHeader(encodeRecords([{ key: null, value: null }], 1_000));
  return buildBatch({ ...header, attributes: 1, count, lastOffsetDelta: count - 1 }, gzipSync(content));
}

it('checks a header before it decompresses anything', () => {
  const batch = bomb(1_000_000);
  const notGzip = Buffer.concat([batch.subarray(0, headerLength), Buffer.from('no gzip at all')]);
  const header = readHeader(batch);
  const sealed = buildBatch({ ...header, lastOffsetDelta: header.count - 1 }, notGzip.subarray(headerLength));
  expect(refusalOfBatch(sealed, config)).toBe(ErrorCode.INVALID_RECORD);
});

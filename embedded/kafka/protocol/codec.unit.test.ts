import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MillraceError } from '../../../platform/errors.js';
import { apis } from '../apis/index.js';
import { Reader } from './reader.js';
import { Writer } from './writer.js';

for (const flexible of [false, true]) {
  test(`every type reads back as written (${flexible ? 'flexible' : 'classic'})`, () => {
    const value = fc.record({
      flag: fc.boolean(),
      short: fc.integer({ min: -0x8000, max: 0x7fff }),
      int: fc.integer(),
      long: fc.maxSafeInteger(),
      text: fc.string({ unit: 'grapheme' }),
      nothing: fc.option(fc.string()),
      bytes: fc.uint8Array(),
      list: fc.array(fc.integer()),
    });
    fc.assert(
      fc.property(value, ({ flag, short, int, long, text, nothing, bytes, list }) => {
        const writer = new Writer(1);
        writer.flexible = flexible;
        writer.boolean(flag);
        writer.int16(short);
        writer.int32(int);
        writer.int64(long);
        writer.string(text);
        writer.nullableString(nothing);
        writer.byteString(Buffer.from(bytes));
        writer.array(list, (item) => writer.int32(item));
        writer.tags();
        const reader = new Reader(Buffer.concat(writer.finish().chunks));
        reader.flexible = flexible;
        expect(reader.boolean()).toBe(flag);
        expect(reader.int16()).toBe(short);
        expect(reader.int32()).toBe(int);
        expect(reader.int64()).toBe(long);
        expect(reader.string()).toBe(text);
        expect(reader.nullableString()).toBe(nothing);
        expect([...reader.byteString()]).toEqual([...bytes]);
        expect(reader.array(() => reader.int32())).toEqual(list);
        reader.tags();
        expect(reader.remaining).toBe(0);
      }),
    );
  });
}

test.each([
  [2 ** 63, 2n ** 63n - 1n],
  [2 ** 64, 2n ** 63n - 1n],
  [Infinity, 2n ** 63n - 1n],
  [-(2 ** 63), -(2n ** 63n)],
  [-(2 ** 65), -(2n ** 63n)],
])('a client’s time of %d is written as the nearest valid one', (value, written) => {
  const writer = new Writer();
  writer.int64(value);
  expect(Buffer.concat(writer.finish().chunks).readBigInt64BE()).toBe(written);
});

test('record batches are passed on without a copy', () => {
  const batch = Buffer.from('batch');
  const writer = new Writer();
  writer.int8(1);
  writer.recordBytes([batch]);
  writer.int8(2);
  const { chunks, length } = writer.finish();
  expect(chunks.includes(batch)).toBe(true);
  expect(Buffer.concat(chunks)).toEqual(Buffer.from([1, 0, 0, 0, 5, ...batch, 2]));
  expect(length).toBe(11);
});

test('an array that declares more elements than there are bytes is refused before anything is read', () => {
  const writer = new Writer();
  writer.int32(0x7fff_ffff);
  let reads = 0;
  const reader = new Reader(Buffer.concat(writer.finish().chunks));
  expect(() => reader.array(() => reads++)).toThrow(/announces 2147483647 elements/);
  expect(reads).toBe(0);
});

test('tagged fields of newer clients are skipped', () => {
  const reader = new Reader(Buffer.from([2, 0, 3, 1, 2, 3, 7, 0, 42]));
  reader.flexible = true;
  reader.tags();
  expect(reader.int8()).toBe(42);
});

test('any bytes in any API and version are either decoded or refused as malformed', () => {
  const versions = apis.flatMap((api) =>
    Array.from({ length: api.maxVersion - api.minVersion + 1 }, (_, i) => ({
      api,
      version: api.minVersion + i,
    })),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...versions),
      fc.uint8Array({ maxLength: 200 }),
      ({ api, version }, bytes) => {
        const reader = new Reader(Buffer.from(bytes));
        reader.flexible = version >= api.flexibleFrom;
        expect(outcomeOf(() => api.decode(reader, version))).toMatch(/^(decoded|MALFORMED_REQUEST)$/);
      },
    ),
    { numRuns: 3000 },
  );
});

function outcomeOf(decode: () => unknown): string {
  try {
    decode();
    return 'decoded';
  } catch (error) {
    return error instanceof MillraceError ? error.code : String(error);
  }
}

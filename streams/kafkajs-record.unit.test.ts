import { createRequire } from 'node:module';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeRecord } from './kafkajs-record.js';

const require = createRequire(import.meta.url);
const theirs: (fields: object) => { buffer: Buffer } = require('kafkajs/src/protocol/recordBatch/record/v0');

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const text = fc.string({ unit: 'binary', maxLength: 100 });
const headerValue = fc.oneof(bytes, text);

test('the bytes are those of kafkajs', () => {
  fc.assert(
    fc.property(
      fc.record({
        offsetDelta: fc.nat(),
        timestampDelta: fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 }),
        key: fc.oneof(fc.constant(null), bytes, text),
        value: fc.oneof(fc.constant(null), bytes),
        headers: fc.dictionary(text, fc.oneof(headerValue, fc.array(headerValue, { maxLength: 3 })), {
          noNullPrototype: true,
        }),
      }),
      (fields) => {
        expect(encodeRecord(fields).buffer).toEqual(theirs(fields).buffer);
      },
    ),
    { numRuns: 500 },
  );
});

test('without anything it is the smallest record', () => {
  expect(encodeRecord({ key: null, value: null }).buffer).toEqual(Buffer.from([12, 0, 0, 0, 1, 1, 0]));
});

test('a header without a value is a null, which kafkajs can only read', () => {
  const headers = { none: undefined };
  expect(encodeRecord({ key: null, value: null, headers }).buffer).toEqual(
    Buffer.from([24, 0, 0, 0, 1, 1, 2, 8, ...Buffer.from('none'), 1]),
  );
});

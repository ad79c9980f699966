import avro, { type Schema } from 'avsc';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createFieldReplacer } from './avro-fields.js';

const schema: Schema = {
  type: 'record',
  name: 'R',
  fields: [
    { name: 'text', type: 'string' },
    { name: 'list', type: { type: 'array', items: 'double' } },
    { name: 'maybe', type: ['null', 'string'] },
    { name: 'place', type: 'string' },
    { name: 'at', type: 'long' },
    { name: 'rest', type: 'bytes' },
  ],
};
const type = avro.Type.forSchema(schema);
const text = fc.string({ unit: 'grapheme' });
// avsc takes longs up to 2^53 - 2.
const largest = Number.MAX_SAFE_INTEGER - 1;
const place = { place: text, at: fc.integer({ min: -largest, max: largest }) };
const record = fc.record({
  text,
  list: fc.array(fc.double({ noNaN: true })),
  maybe: fc.oneof(fc.constant(null), text),
  rest: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  ...place,
});

test('replaces fields, whatever is around them', () => {
  const replace = createFieldReplacer(type, ['place', 'at']);
  fc.assert(
    fc.property(record, fc.record(place), (value, values) => {
      const bytes = Buffer.concat([Buffer.from('ahead'), type.toBuffer(value)]);
      const replaced = replace(bytes, 5, values);
      expect(replaced.subarray(0, 5).toString()).toBe('ahead');
      expect(replaced.subarray(5)).toEqual(type.toBuffer({ ...value, ...values }));
    }),
  );
});

test('refuses fields that are not there, or not next to each other', () => {
  expect(() => createFieldReplacer(type, ['none'])).toThrow('R has no fields none');
  expect(() => createFieldReplacer(type, ['place', 'rest'])).toThrow('next to each other');
  expect(() => createFieldReplacer(avro.Type.forSchema('string'), ['place'])).toThrow('no fields');
});

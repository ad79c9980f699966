import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { type AvroType, avroType, type ContractField, type RecordSchema } from './contracts.js';
import { drawEvent } from './draw-event.js';
import { eventCheck } from './event-check.js';
import { eventSchema } from './event-schema.js';

/** Contracts of every type, with limits now and then. */
const limit = fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined });
const simple: fc.Arbitrary<AvroType> = fc.oneof(
  fc.constantFrom<AvroType>('int', 'long', 'float', 'double', 'string', 'boolean'),
  fc.constantFrom<AvroType>(
    { type: 'long', logicalType: 'timestamp-millis' },
    { type: 'int', logicalType: 'date' },
    { type: 'string', logicalType: 'uuid' },
  ),
  fc.record({ type: fc.constantFrom('int', 'float', 'double'), minimum: limit }, { requiredKeys: ['type'] }),
  fc.record({
    type: fc.constant('double'),
    minimum: fc.double({ noNaN: true, noDefaultInfinity: true, max: 0 }),
    maximum: fc.constant(1),
  }),
  fc.record({ type: fc.constantFrom('long', 'float'), maximum: limit }, { requiredKeys: ['type'] }),
  fc.record({ type: fc.constant('string'), maxLength: fc.nat(5) }),
);
const { any } = fc.letrec<{ any: AvroType }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 3 },
    simple,
    simple.map((type): AvroType => ['null', type]),
    tie('any').map((items): AvroType => ({ type: 'array', items, minItems: 2, maxItems: 3 })),
    tie('any').map((values): AvroType => ({ type: 'map', values, maxProperties: 12, minProperties: 1 })),
  ),
}));

function contractOf(types: AvroType[]): RecordSchema {
  const fields: ContractField[] = types.map((type, index) => ({ name: `f${index}`, type }));
  const inner = { type: 'record', name: 'Inner', fields } as const;
  const letter = { type: 'enum', name: 'Letter', symbols: ['A', 'B'] };
  return {
    type: 'record',
    name: 'Outer',
    fields: [
      { name: 'inner', type: inner },
      { name: 'letter', type: letter },
      { name: 'again', type: ['null', 'Inner'] },
      { name: 'letters', type: { type: 'array', items: 'Letter' } },
    ],
  };
}

it('draws events that fit any contract, as the log gives them back, the same for the same numbers', () => {
  fc.assert(
    fc.property(
      fc.array(any, { minLength: 1, maxLength: 4 }),
      fc.array(fc.double({ min: 0, max: 0.999999, noNaN: true }), { minLength: 1 }),
      (types, numbers) => {
        const schema = contractOf(types);
        const drawn = [1, 2].map(() => {
          let next = 0;
          return drawEvent({ schema }, () => numbers[next++ % numbers.length] ?? 0);
        });
        const [event] = drawn;
        expect(drawn[1]).toEqual(event);
        expect(eventCheck(schema)(event)).toBe(true);
        expect(eventSchema(schema).parse(event)).toEqual(event);
        const avro = avroType(schema as Parameters<typeof avroType>[0]);
        expect(JSON.stringify(avro.fromBuffer(avro.toBuffer(event)))).toBe(JSON.stringify(event));
      },
    ),
    { numRuns: 300 },
  );
});

it('draws nulls, other values, and whole ranges', () => {
  const field: ContractField = { name: 'x', type: ['null', 'int'], minimum: 1, maximum: 3 };
  const schema: RecordSchema = { type: 'record', name: 'E', fields: [field] };
  const seen = new Set<unknown>();
  for (let at = 0; at < 100; at++) {
    const values = [at / 100, ((at * 7) % 100) / 100];
    seen.add((drawEvent({ schema }, () => values.shift() ?? 0) as { x: unknown }).x);
  }
  expect(seen).toEqual(new Set([null, 1, 2, 3]));
});

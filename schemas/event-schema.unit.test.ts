import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { avroType, type ContractField, loadContract, type RecordSchema } from './contracts.js';
import { eventCheck } from './event-check.js';
import { eventSchema, fieldErrors } from './event-schema.js';

function record(...fields: ContractField[]): RecordSchema {
  return { type: 'record', name: 'Ride', namespace: 'test', fields };
}

function errorsOf(schema: RecordSchema, event: unknown): Record<string, string> {
  const { error } = eventSchema(schema).safeParse(event);
  return Object.fromEntries(
    error === undefined ? [] : fieldErrors(error).map(({ field, problem }) => [field, problem]),
  );
}

describe('eventSchema', () => {
  const ride = record(
    { name: 'area', type: 'int', minimum: 1, maximum: 77 },
    { name: 'miles', type: 'double', minimum: 0 },
    { name: 'company', type: ['null', 'string'], default: null, maxLength: 5 },
    { name: 'payment', type: { type: 'enum', name: 'Payment', symbols: ['CASH', 'CARD'] } },
    { name: 'shared', type: 'boolean' },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
  );
  const good = { area: 8, miles: 1.5, company: null, payment: 'CASH', shared: false, at: 1_700_000_000_000 };

  it('accepts a good event and fills in defaults', () => {
    const { company: _, ...withoutCompany } = good;
    expect(eventSchema(ride).parse(withoutCompany)).toEqual(good);
  });

  it('names every invalid field', () => {
    const event = {
      area: 78,
      miles: Number.NaN,
      company: 'too long',
      payment: 'CHEQUE',
      shared: 'no',
      at: 1.5,
      tip: 3,
    };
    expect(errorsOf(ride, event)).toEqual({
      area: 'must be a whole number from 1 to 77',
      miles: expect.stringMatching(/^must be a number from 0/) as string,
      company: 'must not be longer than 5 characters',
      payment: 'must be one of CASH, CARD',
      shared: 'must be true or false',
      at: expect.stringMatching(/^must be a time such as/) as string,
      tip: 'is not a field of this event',
    });
  });

  it('takes fields with the names of what every object has as any other', () => {
    const names = ['toString', 'constructor', '__defineGetter__'];
    const race = record(
      { name: 'toString', type: 'string' },
      { name: 'constructor', type: ['null', 'string'], default: null, doc: 'of the car' },
      { name: '__defineGetter__', type: 'int', default: 3 },
    );
    const parsed = eventSchema(race).parse({ toString: 'x' });
    expect(names.map((name) => parsed[name])).toEqual(['x', null, 3]);
    expect(eventSchema(race).parse({ toString: 'x', constructor: 'y' })['constructor']).toBe('y');
    expect(errorsOf(race, {})).toEqual({ toString: 'is missing' });
    expect(errorsOf(race, { toString: 1, constructor: 2 })).toEqual({
      toString: 'must be a string',
      constructor: 'must be a string',
    });
    const json = z.toJSONSchema(eventSchema(race), { io: 'input' });
    expect(json.$defs?.['Ride']).toMatchObject({
      required: ['toString'],
      properties: {
        constructor: { description: 'of the car', default: null },
        __defineGetter__: { type: 'integer' },
      },
    });
  });

  it('distinguishes a missing field from an invalid one', () => {
    expect(errorsOf(ride, { ...good, area: undefined, miles: null })).toEqual({
      area: 'is missing',
      miles: expect.stringMatching(/^must be a number/) as string,
    });
  });

  it.each([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN])(
    'refuses %s even without limits',
    (value) => {
      expect(errorsOf(record({ name: 'x', type: 'double' }), { x: value })).toEqual({
        x: 'must be a number',
      });
    },
  );

  it('keeps an int in 32 bits', () => {
    expect(errorsOf(record({ name: 'x', type: 'int' }), { x: 2 ** 31 })).toEqual({
      x: 'must be a whole number from -2147483648 to 2147483647',
    });
  });

  it.each([2 ** 53, -(2 ** 53), 1e300])(
    'says once that %d is out of range, not that it is not whole',
    (x) => {
      const { error } = eventSchema(record({ name: 'x', type: 'long' })).safeParse({ x });
      const problem = 'must be a whole number from -4503599627370496 to 9007199254740990';
      expect(fieldErrors(error as NonNullable<typeof error>)).toEqual([{ field: 'x', problem }]);
    },
  );

  it.each<[ContractField['type'], unknown[], unknown[]]>([
    ['float', [0.1, 12345.67, -0, 1e-50, 3.4028235e38, 16_777_217], [3.403e38, -1e39, 3.4028236e38]],
    ['double', [0.1, -0, 5e-324, 1.7976931348623157e308], [Infinity]],
    ['int', [-0, 2 ** 31 - 1], [2 ** 31]],
    ['long', [-0, 2 ** 53 - 2, -(2 ** 52)], [2 ** 53, 2 ** 53 - 1, -(2 ** 52) - 1]],
    ['string', ['Blue \u{1f600}', '', '\0'], ['Blue \ud83d', '\udc00', 'a\ud800b']],
    [['null', 'float'], [null, 0.3], [1e39]],
    [{ type: 'long', logicalType: 'timestamp-millis' }, [-0, -1, '1969-12-31 23:59:59.001'], ['2026-02-30']],
    [{ type: 'long', logicalType: 'local-timestamp-millis' }, ['2026-01-31T12:00'], ['2026-01-31T24:00']],
    [
      { type: 'int', logicalType: 'date' },
      [0, -1, '2026-01-31'],
      ['2026-02-29', '2026-01-31T12:00:00Z', 1.5],
    ],
    [
      { type: 'string', logicalType: 'uuid' },
      ['123e4567-e89b-12d3-a456-426614174000'],
      ['zzz', '', '123e4567e89b12d3a456426614174000'],
    ],
  ])('gives back of %j what Avro does, and refuses what it can’t hold', (type, held, bad) => {
    const contract = record({ name: 'x', type });
    const schema = eventSchema(contract);
    const avro = avroType(contract as unknown as Parameters<typeof avroType>[0]);
    for (const x of held) {
      const event = schema.parse({ x });
      const read: unknown = avro.fromBuffer(avro.toBuffer(event));
      expect(Object.is((read as typeof event)['x'], event['x'])).toBe(true);
      expect(JSON.stringify(schema.parse(JSON.parse(JSON.stringify(read))))).toBe(JSON.stringify(event));
      expect(eventCheck(contract)(event)).toBe(true);
    }
    for (const x of bad) {
      expect(schema.safeParse({ x }).success).toBe(false);
      expect(eventCheck(contract)({ x })).toBe(false);
    }
  });

  it('takes a float’s limits as the log has them', () => {
    const contract = record({ name: 'x', type: 'float', minimum: 0.3, maximum: 0.7 });
    for (const x of [0.3, Math.fround(0.3), 0.7, Math.fround(0.7)]) {
      const event = eventSchema(contract).parse({ x });
      expect(event).toEqual({ x: Math.fround(x) });
      expect(eventCheck(contract)(event)).toBe(true);
    }
    expect(errorsOf(contract, { x: 0.701 })).toEqual({ x: 'must be a number from 0.3 to 0.7' });
  });

  it('rounds a default as it rounds values, and refuses one that the limits refuse', () => {
    const price = { name: 'x', type: 'float', default: 0.1 };
    expect(eventSchema(record(price)).parse({})).toEqual({ x: Math.fround(0.1) });
    expect(() => eventSchema(record({ ...price, minimum: 1 }))).toThrow('the default 0.1, which must be');
  });

  it.each<ContractField['type']>([
    'bytes',
    'Nothing',
    ['int', 'string'],
    ['null', 'int', 'string'],
    ['int'],
    'null',
    { type: 'array', items: 'bytes' },
    { type: 'map', values: ['int', 'string'] },
    { type: 'fixed', name: 'Four', size: 4 },
    { type: 'bytes', logicalType: 'decimal' },
  ])('refuses a contract with the type %j', (type) => {
    const contract = record({ name: 'x', type });
    for (const make of [eventSchema, eventCheck])
      expect(() => make(contract)).toThrow(
        /^Ride\.x(\[\])? has the Avro type .*\. An event field is int, .*, a record, an array or a map of these, or/,
      );
  });

  it('refuses recursion, depth, size and limits that are none', () => {
    const nest = (depth: number): ContractField['type'] =>
      depth === 0 ? 'int' : { type: 'array', items: nest(depth - 1) };
    const node = { type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] };
    // Each type has ten of the one before.
    const types = [1, 2, 3, 4].map((n) => ({
      name: `t${n}`,
      type: {
        type: 'record',
        name: `T${n}`,
        fields: Array.from({ length: 10 }, (_, index) => ({
          name: `f${index}`,
          type: n === 1 ? 'int' : `T${n - 1}`,
        })),
      },
    }));
    for (const [fields, problem] of [
      [[{ name: 'x', type: node }], 'Ride.x.next is a Node inside a Node. Write the levels'],
      [[{ name: 'x', type: ['null', 'Ride'] }], 'Ride.x is a Ride inside a Ride'],
      [[{ name: 'x', type: nest(17) }], 'is nested deeper than 16 levels'],
      [types, 'is one of more than 10000 fields'],
      [[{ name: '__proto__', type: 'int' }], 'Ride.__proto__ can’t be the name of a field'],
      [
        [{ name: 'x', type: 'int', maximum: '5' }],
        'Ride.x has the maximum "5", which must be a finite number',
      ],
      [
        [{ name: 'x', type: 'double', minimum: Number.NEGATIVE_INFINITY }],
        'the minimum -Infinity, which must be a finite number',
      ],
      [[{ name: 'x', type: { type: 'record', name: 'Empty', fields: [] } }], 'is a record without fields'],
      [[{ name: 'x', type: 'int', minimum: 5, maximum: 4 }], 'has the minimum 5, above its maximum 4'],
      [[{ name: 'x', type: nest(1), minItems: 5, maxItems: 4 }], 'has a least number of items above'],
      [[{ name: 'x', type: nest(1), maxItems: -1 }], 'the maxItems -1, which must be a whole number from 0'],
    ] as [ContractField[], string][])
      expect(() => eventSchema(record(...fields))).toThrow(problem);
    expect(() => eventSchema(record({ name: 'x', type: nest(16) }))).not.toThrow();
  });

  it('takes a time as RFC 3339 text too, within the same limits', () => {
    const at = record({
      name: 'at',
      type: { type: 'long', logicalType: 'timestamp-millis' },
      minimum: Date.UTC(2000, 0),
    });
    const time = Date.UTC(2026, 0, 31, 11, 45);
    for (const value of [
      time,
      '2026-01-31T11:45:00Z',
      '2026-01-31T12:45:00.000+01:00',
      '2026-01-31 11:45:00',
    ])
      expect(eventSchema(at).parse({ at: value })).toEqual({ at: time });
    const problem = expect.stringMatching(
      /^must be a time such as .*, from 2000-01-01T00:00:00.000Z to /,
    ) as string;
    // Seconds since 1970 would be a day in January 1970.
    for (const value of [
      '1999-12-31T23:59:59Z',
      '2026-02-30T11:45:00Z',
      'today',
      '',
      true,
      1_769_859_900,
      time + 0.5,
    ])
      expect(errorsOf(at, { at: value })).toEqual({ at: problem });
    expect(errorsOf(at, {})).toEqual({ at: 'is missing' });
  });

  it('takes what Avro decoded as it is', () => {
    const { schema, type } = loadContract('credit-default', 'event');
    const client = Object.fromEntries(
      schema.fields.map((field) => [field.name, field.name === 'AGE' ? 30 : 1]),
    );
    expect(eventSchema(schema).parse(type.fromBuffer(type.toBuffer(client)))).toEqual(client);
  });
});

const order = record(
  {
    name: 'customer',
    type: {
      type: 'record',
      name: 'Customer',
      fields: [
        { name: 'age', type: 'int', minimum: 0, maximum: 120 },
        { name: 'since', type: ['null', { type: 'int', logicalType: 'date' }], default: null },
      ],
    },
  },
  { name: 'payer', type: ['null', 'Customer'] },
  { name: 'readings', type: { type: 'array', items: 'float' }, minItems: 1, maxItems: 3, maximum: 9 },
  { name: 'tags', type: { type: 'map', values: ['null', { type: 'string', maxLength: 5 }] }, default: {} },
  {
    name: 'lines',
    type: {
      type: 'array',
      items: {
        type: 'record',
        name: 'Line',
        fields: [
          { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } },
          { name: 'amounts', type: { type: 'map', values: 'double', maxProperties: 2 } },
          { name: 'other', type: ['null', 'Kind'] },
        ],
      },
    },
  },
);

const goodOrder = {
  customer: { age: 30, since: null },
  payer: { age: 31, since: 5 },
  readings: [0.5, 2],
  tags: { blue: null, red: 'yes' },
  lines: [{ kind: 'A', amounts: { x: 1.5 }, other: 'B' }],
};

describe('eventSchema of nested values', () => {
  const schema = eventSchema(order);

  it('gives back what Avro does', () => {
    const given = {
      ...goodOrder,
      customer: { since: '2026-01-31', age: 30 },
      payer: undefined,
      readings: [0.1, -0],
      tags: { red: 'yes', blue: null, 10: 'b', 9: 'a' },
    };
    const event = schema.parse(given);
    expect(event).toMatchObject({ customer: { age: 30, since: 20_484 }, payer: null });
    expect(Object.keys(event['customer'] as object)).toEqual(['age', 'since']);
    expect(event['readings']).toEqual([Math.fround(0.1), 0]);
    expect(JSON.stringify(event['tags'])).toBe('{"9":"a","10":"b","blue":null,"red":"yes"}');
    const avro = avroType(order as unknown as Parameters<typeof avroType>[0]);
    const read: unknown = avro.fromBuffer(avro.toBuffer(event));
    expect(JSON.stringify(schema.parse(read))).toBe(JSON.stringify(event));
  });

  it('names the path of each error', () => {
    expect(
      errorsOf(order, {
        customer: { age: 121, since: '2026-02-30', agee: 1 },
        readings: [1, 'two', 10, Number.NaN],
        tags: { red: 'too long', blue: 1 },
        lines: [{ kind: 'A', amounts: { x: 'y' } }, null, { amounts: { a: 1, b: 2, c: 3 } }],
      }),
    ).toEqual({
      'customer.age': 'must be a whole number from 0 to 120',
      'customer.since': expect.stringContaining('must be a day such as') as string,
      'customer.agee': 'is not a field of this event',
      readings: 'must have from 1 to 3 items, and has 4',
      'tags.red': 'must not be longer than 5 characters',
      'tags.blue': 'must be a string',
      'lines.0.amounts.x': 'must be a number',
      'lines.1': 'must be an object',
      'lines.2.kind': 'is missing',
      'lines.2.amounts': 'must have from 0 to 2 entries, and has 3',
    });
    expect(errorsOf(order, { customer: [], readings: [1, '2', 10], tags: [], lines: {} })).toEqual({
      customer: 'must be an object',
      'readings.1': expect.stringContaining('must be a number from') as string,
      'readings.2': expect.stringContaining('must be a number from') as string,
      tags: 'must be an object',
      lines: 'must be an array',
    });
    expect(errorsOf(order, { payer: 1 })).toEqual({
      customer: 'is missing',
      payer: 'must be an object',
      readings: 'is missing',
      lines: 'is missing',
    });
  });

  it('refuses keys of maps that the log or JavaScript would change', () => {
    for (const [key, problem] of [
      ['__proto__', 'can’t be the key of a map'],
      ['\ud800', 'has half of a character (a lone surrogate) in its key'],
      ['k'.repeat(1001), 'must not have a key of more than 1000 characters'],
    ] as const) {
      const tags: unknown = JSON.parse(`{"a":null,${JSON.stringify(key)}:"x"}`);
      expect(errorsOf(order, { ...goodOrder, tags })).toEqual({ [`tags.${key.slice(0, 100)}`]: problem });
      expect(eventCheck(order)({ ...goodOrder, tags })).toBe(false);
    }
    const tags = { constructor: 'a', toString: 'b', hasOwnProperty: null };
    expect(schema.parse({ ...goodOrder, tags })).toMatchObject({ tags });
  });

  it('reports at most a hundred errors of millions, and goes no deeper than the contract', () => {
    const wrong = Array.from({ length: 10_000 }, () => ({ kind: 1, amounts: { a: '1' } }));
    expect(Object.keys(errorsOf(order, { ...goodOrder, lines: wrong }))).toHaveLength(100);
    const huge = record({ name: 'x', type: { type: 'array', items: 'int' } });
    const many = Array.from({ length: 2_000_000 }, () => '');
    expect(errorsOf(huge, { x: many })).toEqual({ x: 'must have from 0 to 10000 items, and has 2000000' });
    const deep: unknown = JSON.parse('['.repeat(200_000) + ']'.repeat(200_000));
    expect(errorsOf(huge, { x: deep })).toEqual({ 'x.0': 'must be a whole number' });
    expect(errorsOf(order, { ...goodOrder, customer: deep })).toEqual({ customer: 'must be an object' });
  });

  it('names the file of a contract that has one', () => {
    const { schema: loaded } = loadContract('credit-default', 'event');
    loaded.fields.push({ name: 'x', type: 'bytes' });
    expect(() => eventSchema(loaded)).toThrow(
      /credit-default.event\.v1\.avsc: CreditDefaultEvent\.x has the Avro/,
    );
    loaded.fields.splice(-1, 1, { name: 'x', type: 'int', default: '1' });
    expect(() => eventSchema(loaded)).toThrow(/event\.v1\.avsc: CreditDefaultEvent\.x has the default "1"/);
  });

  it('checks a default of any type', () => {
    const field = { name: 'x', type: { type: 'array', items: 'int' }, maximum: 3 };
    expect(eventSchema(record({ ...field, default: [1] })).parse({})).toEqual({ x: [1] });
    expect(() => eventSchema(record({ ...field, default: [1, 4] }))).toThrow(
      'Ride.x has the default [1,4], whose 1 must be a whole number from -2147483648 to 3.',
    );
  });
});

describe('eventCheck', () => {
  const fields: ContractField[] = [
    { name: 'int', type: 'int', minimum: -5, maximum: 77 },
    { name: 'long', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'double', type: 'double' },
    { name: 'text', type: ['null', 'string'], default: null, maxLength: 3 },
    { name: 'enum', type: { type: 'enum', name: 'Letter', symbols: ['A', 'B'] } },
    { name: 'boolean', type: 'boolean' },
  ];
  const good = { int: 7, long: 1, double: 1.5, text: 'abc', enum: 'A', boolean: true };
  const values = fc.oneof(
    fc.constantFrom(-5, -6, 77, 78, 1.5, -0, 2 ** 53, -(2 ** 53), 2 ** 31, NaN, Infinity, -Infinity),
    fc.constantFrom(8.64e15, 8.64e15 + 1, -8.64e15, -8.64e15 - 1),
    fc.constantFrom('A', 'B', '', 'abc', 'abcd', '1', null, undefined, true, false, {}, []),
    fc.double(),
  );

  it('accepts only events that the schema returns unchanged', () => {
    const names = fields.map(({ name }) => name);
    const [schema, check] = [eventSchema(record(...fields)), eventCheck(record(...fields))];
    fc.assert(
      fc.property(fc.constantFrom(...names), values, (name, value) => {
        const event = { ...good, [name]: value };
        const { data } = schema.safeParse(event);
        const same = data !== undefined && Object.is(data[name], value);
        expect(check(event)).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });

  it('leaves other fields, missing ones and another order to the schema', () => {
    const check = eventCheck(record(...fields));
    const { int, ...rest } = good;
    expect(check(good)).toBe(true);
    for (const event of [rest, { ...rest, int }, { ...good, more: 1 }, {}, [], null, undefined, 'text', 1])
      expect(check(event)).toBe(false);
  });

  it('accepts only nested events that the schema returns unchanged', () => {
    const schema = eventSchema(order);
    const check = eventCheck(order);
    const plain = { noNullPrototype: true };
    const parts = ['customer', 'payer', 'readings', 'tags', 'lines'] as const;
    const line = fc.record(
      {
        kind: fc.constantFrom('A', 'B', 'C'),
        amounts: fc.dictionary(fc.string({ unit: 'binary', maxLength: 2 }), values, { maxKeys: 3, ...plain }),
        other: fc.constantFrom(null, 'A', 1),
      },
      plain,
    );
    const nested = fc.oneof(
      values,
      fc.array(fc.oneof(values, line), { maxLength: 4 }),
      fc.record({ age: fc.constantFrom(0, 120, 121, 1.5, -0), since: values }, plain),
      fc.record(
        { age: fc.constant(5), since: fc.constantFrom(null, 7), more: values },
        { requiredKeys: ['age'], ...plain },
      ),
      fc.dictionary(fc.string({ unit: 'binary', maxLength: 2 }), fc.oneof(values, fc.constant('ok')), plain),
      fc.array(line),
    );
    fc.assert(
      fc.property(fc.constantFrom(...parts), nested, (part, value) => {
        const event = { ...goodOrder, [part]: value };
        const { data } = schema.safeParse(event);
        const same = isDeepStrictEqual(data?.[part], value) && JSON.stringify(data) === JSON.stringify(event);
        if (check(event)) expect(same).toBe(true);
        // Maps whose keys are numbers are in order too, and take the long way.
        else if (same) expect(JSON.stringify(value)).toMatch(/"\d+":/);
      }),
      { numRuns: 3_000 },
    );
    expect(check(goodOrder)).toBe(true);
  });
});

import avro, { type Schema } from 'avsc';
import { describe, expect, test } from 'vitest';
import { avroType } from '../schemas/contracts.js';
import { createResolution } from './avro-resolution.js';

const record = (type: unknown, more: object = {}): Schema =>
  ({ type: 'record', name: 'Client', namespace: 'here', fields: [{ name: 'AGE', type }], ...more }) as Schema;

// oxlint-disable-next-line eslint/no-underscore-dangle -- avsc's name
const long = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return bytes;
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => Number(a - b),
});

/** Reads a value of one schema with another; returns the message of a mismatch. */
function read(writer: Schema, value: unknown, reader: Schema): unknown {
  const type = avro.Type.forSchema(writer, { wrapUnions: 'always', registry: { long } });
  try {
    return createResolution(avroType(reader), avro.Type.forSchema(writer, { wrapUnions: 'always' }))(
      type.toBuffer(value),
      0,
    );
  } catch (error) {
    return (error as Error).message;
  }
}

const nullable = record(['null', 'int']);

describe('a writer’s union', () => {
  test('matters only in the branch that a value uses', () => {
    expect(read(nullable, { AGE: { int: 34 } }, record('int'))).toEqual({ AGE: 34 });
    expect(read(nullable, { AGE: null }, record('int'))).toBe('AGE is null, the contract has int');
    const text = record(['string', 'long', 'null']);
    expect(read(text, { AGE: { long: 34n } }, record('int'))).toEqual({ AGE: 34 });
    expect(read(text, { AGE: { string: 'old' } }, record('int'))).toBe('AGE is string, the contract has int');
    expect(read(text, { AGE: { string: 'old' } }, record(['null', 'int']))).toBe(
      'AGE is string, the contract has null or int',
    );
  });

  test('without a readable branch is refused with its schema', () => {
    expect(() =>
      createResolution(avroType(record('int')), avroType(record(['null', 'string', 'boolean']))),
    ).toThrow('AGE is string, the contract has int');
  });

  test('is read in the same branch, by order of types, not by position', () => {
    const reader = record(['null', 'double', 'string']);
    expect(read(record(['string', 'null', 'int']), { AGE: { int: 3 } }, reader)).toEqual({ AGE: 3 });
    expect(read(record(['string', 'null', 'int']), { AGE: { string: '3' } }, reader)).toEqual({ AGE: '3' });
    expect(read(record(['string', 'null', 'int']), { AGE: null }, reader)).toEqual({ AGE: null });
  });
});

describe('numbers', () => {
  test.each<[string, unknown, string, unknown]>([
    ['long', 34n, 'int', 34],
    ['long', 2_147_483_648n, 'int', 'AGE is 2147483648, the contract has int'],
    ['long', -(2n ** 63n), 'long', 'AGE is -9223372036854775808, the contract has long'],
    ['long', 2n ** 63n - 1n, 'double', 'AGE is 9223372036854775807, which a double can'],
    ['long', 2n ** 60n, 'double', 2 ** 60],
    ['long', 2n ** 53n + 1n, 'long', 'AGE is 9007199254740993, the contract has long'],
    ['int', -7, 'long', -7],
    ['int', 7, 'float', 7],
    ['double', 34, 'int', 34],
    ['double', 34.5, 'int', 'AGE is 34.5, the contract has int'],
    ['double', Number.NaN, 'long', 'AGE is NaN, the contract has long'],
    ['double', 0.1, 'float', Math.fround(0.1)],
    ['double', 1e39, 'float', 'AGE is 1e+39, the contract has float'],
    ['float', 0.5, 'double', 0.5],
  ])('%s %s is read as %s where it fits', (writer, value, reader, expected) => {
    const got = read(record(writer), { AGE: value }, record(reader));
    if (typeof expected === 'string') expect(got).toMatch(new RegExp(`^${expected.replace('+', '\\+')}`));
    else expect(got).toEqual({ AGE: expected });
  });

  test('that no field uses are skipped, whatever they are', () => {
    const writer = record('int', {
      fields: [
        { name: 'huge', type: 'long' },
        { name: 'AGE', type: 'int' },
      ],
    });
    expect(read(writer, { huge: 2n ** 63n - 1n, AGE: 5 }, record('int'))).toEqual({ AGE: 5 });
  });
});

describe('names', () => {
  test.each([
    ['another namespace', record('int', { namespace: 'com.acme.risk' })],
    ['no namespace', record('int', { namespace: '' })],
    ['another name', record('int', { name: 'Customer' })],
  ])('of %s do not matter', (_what, writer) => {
    expect(read(writer, { AGE: 5 }, record('int'))).toEqual({ AGE: 5 });
  });

  test('of fields may be aliases, in any order, with others between', () => {
    const fields = [
      { name: 'extra', type: { type: 'map', values: ['null', 'string'] } },
      { name: 'years', type: 'int' },
      { name: 'sex', type: 'int' },
    ];
    const reader = record('int', {
      fields: [
        { name: 'sex', type: 'int' },
        { name: 'AGE', aliases: ['years'], type: 'int' },
        { name: 'note', type: ['null', 'string'], default: null },
      ],
    });
    const value = { extra: { a: null, b: { string: 'x' } }, years: 5, sex: 1 };
    const got = read(record('int', { fields }), value, reader);
    expect(got).toEqual({ sex: 1, AGE: 5, note: null });
    expect(Object.keys(got as object)).toEqual(['sex', 'AGE', 'note']);
  });

  test('of missing fields are reported', () => {
    expect(() => createResolution(avroType(record('int')), avroType(record('int', { fields: [] })))).toThrow(
      'AGE is missing, and the contract has no default for it',
    );
  });

  test('of nested fields are reported from the outside in', () => {
    const inner = (type: string): Schema =>
      record({ type: 'record', name: 'Inner', fields: [{ name: 'x', type }] });
    expect(read(inner('long'), { AGE: { x: 2n ** 40n } }, inner('int'))).toMatch(/^AGE\.x is 1099511627776/);
    const list = (type: string): Schema => record({ type: 'array', items: { type: 'map', values: type } });
    expect(read(list('long'), { AGE: [{}, { a: 1n, b: 2n ** 40n }] }, list('int'))).toMatch(
      /^AGE\.1\.b is 1099511627776/,
    );
  });
});

describe('symbols of an enum', () => {
  const fuel = (...symbols: string[]): Schema => record({ type: 'enum', name: 'Fuel', symbols });

  test('that the reader doesn’t have matter only when they are used', () => {
    const writer = fuel('HYDROGEN', 'DIESEL');
    expect(read(writer, { AGE: 'DIESEL' }, fuel('PETROL', 'DIESEL'))).toEqual({ AGE: 'DIESEL' });
    expect(read(writer, { AGE: 'HYDROGEN' }, fuel('PETROL', 'DIESEL'))).toBe(
      'AGE is HYDROGEN, the contract has PETROL, DIESEL',
    );
    const open = record({ type: 'enum', name: 'Fuel', symbols: ['PETROL'], default: 'PETROL' });
    expect(read(writer, { AGE: 'HYDROGEN' }, open)).toEqual({ AGE: 'PETROL' });
  });

  test('of which the reader has none are refused with their schema', () => {
    expect(() => createResolution(avroType(fuel('A')), avroType(fuel('B')))).toThrow(
      'AGE is one of B, the contract has A',
    );
  });
});

test('text that is not UTF-8 is refused with the field’s name', () => {
  expect(read(record('bytes'), { AGE: Buffer.from([0xff]) }, record('string'))).toBe(
    'AGE is text that is not UTF-8',
  );
  expect(read(record('bytes'), { AGE: Buffer.from('é') }, record('string'))).toEqual({ AGE: 'é' });
});

test('lists and maps are read item by item', () => {
  const of = (values: unknown): Schema => record({ type: 'map', values: { type: 'array', items: values } });
  expect(read(of('int'), { AGE: { a: [1, 2], b: [] } }, of('long'))).toEqual({ AGE: { a: [1, 2], b: [] } });
});

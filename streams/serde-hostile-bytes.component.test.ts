import type { schema as avroSchema } from 'avsc';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { avroType } from '../schemas/contracts.js';
import { SchemaRegistryClient } from './schema-registry.js';
import { Serde } from './serde.js';
import { codeOf, TinyRegistry, trip, wire } from './testing/serde-fixture.js';

type RecordType = avroSchema.RecordType;

let registry: TinyRegistry;
let serde: Serde;
beforeEach(async () => {
  registry = new TinyRegistry();
  await registry.start();
  serde = new Serde(new SchemaRegistryClient({ url: registry.url }));
});
afterEach(() => registry.stop());

const reader = avroType(trip);
const undecodable = { code: 'UNDECODABLE', retriable: false };
// Zigzag of 2^53 + 1, which a number rounds to 2^53.
const beyondSafe = [0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];

test.each<[string, (id: number) => Buffer | null]>([
  ['null', () => null],
  ['nothing', () => Buffer.alloc(0)],
  ['half a header', () => Buffer.from([0, 0, 0])],
  ['no magic byte', () => Buffer.from('{"id":"a"}')],
  ['cut off', (id) => wire(id, [2, 0x61, 2, 0, 0])],
  ['bytes left over', (id) => wire(id, [2, 0x61, 0, 2, 9])],
  ['a union branch that does not exist', (id) => wire(id, [2, 0x61, 8, 2])],
  ['a negative length', (id) => wire(id, [3, 0, 0])],
  ['a length beyond the end', (id) => wire(id, [0xfe, 0xff, 0xff, 0xff, 0x0f, 0])],
  ['a long beyond 2^53', (id) => wire(id, [2, 0x61, 0, ...beyondSafe])],
])('%s is undecodable', async (_what, bytes) => {
  const id = await serde.register('trips', reader);
  expect(await codeOf(() => serde.decode(bytes(id), reader))).toEqual(undecodable);
});

test.each<[string, (id: number) => Buffer | null, string]>([
  [
    'a long beyond 2^53',
    (id) => wire(id, [2, 0x61, 0, ...beyondSafe]),
    'started is 9007199254740993, the contract',
  ],
  [
    'a union branch that does not exist',
    (id) => wire(id, [2, 0x61, 8, 2]),
    'miles has a union branch that does not',
  ],
  ['a cut text', (id) => wire(id, [200, 1, 0x61]), 'id is cut off'],
  ['bytes left over', (id) => wire(id, [2, 0x61, 0, 2, 9]), 'it has bytes left over after the value'],
  ['null', () => null, 'not in Confluent wire format: it is null'],
  [
    'an id in a header',
    () => Buffer.from([1, 2, 0x61]),
    'an id of 8 bytes, or one in a header, is not read here',
  ],
  ['an id of 8 bytes', () => Buffer.alloc(20), 'an id of 8 bytes, or one in a header, is not read here'],
])('the error of %s names the defect and the field, and nothing of the code', async (_what, bytes, words) => {
  const id = await serde.register('trips', reader);
  const decode = async (type: typeof reader): Promise<unknown> => await serde.decode(bytes(id), type);
  await expect(decode(reader)).rejects.toThrow(words);
  // Read as another version of itself, through the resolution.
  const newer = avroType({ ...trip, fields: [...trip.fields, { name: 'x', type: 'int', default: 0 }] });
  await expect(decode(newer)).rejects.toThrow(words);
});

test.each([
  ['the same type', undefined],
  ['a reader that drops the field', avroType({ type: 'record', name: 'Bag', fields: [] })],
])('a huge count costs nothing, read by %s', async (_who, other) => {
  const type = avroType({
    type: 'record',
    name: 'Bag',
    fields: [{ name: 'items', type: { type: 'array', items: 'int' } }],
  });
  const id = await serde.register('bags', type);
  const started = process.memoryUsage().heapUsed;
  const bomb = wire(id, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
  expect(await codeOf(() => serde.decode(bomb, other ?? type))).toEqual(undecodable);
  expect(process.memoryUsage().heapUsed - started).toBeLessThan(50_000_000);
  expect(await serde.decode(wire(id, [4, 2, 4, 0]), type)).toEqual({ items: [1, 2] });
});

test('an array of items that take no bytes is refused with its schema', async () => {
  const id = registry.add({ type: 'array', items: 'null' });
  const type = avroType({ type: 'array', items: ['null', 'int'] });
  expect((await codeOf(() => serde.decode(wire(id, [0xfe, 0xff, 0xff, 0x0f]), type))).code).toBe(
    'SCHEMA_INCOMPATIBLE',
  );
});

/** R34 = {a: R33, b: R33} and so on: a short text, and 2^34 parts in each value. */
const tower = (bottom: unknown, extra: object = {}): unknown => {
  let type = bottom;
  for (let level = 1; level <= 34; level++)
    type = {
      type: 'record',
      name: `R${level}`,
      fields: [
        { name: 'a', type, ...extra },
        { name: 'b', type: level === 1 ? bottom : `R${level - 1}`, ...extra },
      ],
    };
  return type;
};
const bagOf = (items: unknown): object => ({
  type: 'record',
  name: 'Bag',
  fields: [
    { name: 'n', type: 'int' },
    { name: 'items', type: { type: 'array', items } },
  ],
});
const bag = avroType({ type: 'record', name: 'Bag', fields: [{ name: 'n', type: 'int' }] });

test.each([
  ['plainly', {}],
  ['with defaults', { default: {} }],
])('types that repeat %s cost no more than their text', async (_how, extra) => {
  const id = registry.add(bagOf(tower('int', extra)));
  expect(await serde.decode(wire(id, [2, 0]), bag)).toEqual({ n: 1 });
  expect(await codeOf(() => serde.decode(wire(id, [2, 2, 1, 1]), bag))).toEqual(undecodable);
});

test('values with billions of parts in no bytes are refused with their schema', async () => {
  const id = registry.add(bagOf(['null', tower('null')]));
  expect((await codeOf(() => serde.decode(wire(id, [2, 2, 2, 0]), bag))).code).toBe('SCHEMA_INCOMPATIBLE');
  const flat = registry.add({ ...bagOf('int'), fields: [{ name: 'r', type: tower('null') }] });
  expect((await codeOf(() => serde.decode(wire(flat, []), bag))).code).toBe('SCHEMA_INCOMPATIBLE');
});

test('a recursive type may be an item', async () => {
  const branch = { type: 'record', name: 'B', fields: [{ name: 'up', type: 'A' }] };
  const id = registry.add(
    bagOf({ type: 'record', name: 'A', fields: [{ name: 'u', type: ['null', branch] }] }),
  );
  expect(await serde.decode(wire(id, [2, 4, 0, 2, 0, 0]), bag)).toEqual({ n: 1 });
});

test('a schema of more than 256 KB is not read', async () => {
  const id = registry.add({ ...bagOf('int'), doc: 'x'.repeat(256 * 1024) });
  expect((await codeOf(() => serde.decode(wire(id, [2, 0]), bag))).code).toBe('SCHEMA_INCOMPATIBLE');
});

test('a chain of a million links is undecodable, and no crash', async () => {
  const chain = avroType({
    type: 'record',
    name: 'Link',
    fields: [{ name: 'next', type: ['null', 'Link'] }],
  });
  const id = await serde.register('chains', chain);
  const decode = (): unknown => serde.decode(wire(id, Buffer.alloc(1_000_000, 2)), chain);
  expect(await codeOf(decode)).toEqual(undecodable);
  expect(decode).toThrow('it is nested too deep');
});

test('random bytes cause no error worse than undecodable', async () => {
  const type = avroType({
    type: 'record',
    name: 'Everything',
    fields: [
      {
        name: 'map',
        type: { type: 'map', values: ['null', 'double', { type: 'array', items: 'string' }] },
      },
      { name: 'bytes', type: 'bytes' },
      { name: 'fixed', type: { type: 'fixed', name: 'Four', size: 4 } },
      { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } },
    ],
  });
  const id = await serde.register('everything', type);
  const value = {
    map: { a: null, b: 1, c: ['x', 'y'] },
    bytes: Buffer.from('b'),
    fixed: Buffer.from('four'),
    kind: 'B',
  };
  const valid = serde.encode(id, type, value);
  expect(serde.decode(valid, type)).toEqual(value);
  let state = 42;
  for (let round = 0; round < 2_000; round++) {
    const mutated = Buffer.from(valid);
    for (let change = 0; change < 3; change++) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      mutated[5 + (state % (mutated.length - 5))] = (state >> 8) & 0xff;
    }
    expect(['NONE', 'UNDECODABLE']).toContain((await codeOf(() => serde.decode(mutated, type))).code);
  }
});

test('a map with the key __proto__ is refused, whatever its value is', async () => {
  const inner: RecordType = { type: 'record', name: 'Deep', fields: [{ name: 'n', type: 'int' }] };
  for (const values of ['int', inner]) {
    const tags: RecordType['fields'][0] = { name: 'tags', type: { type: 'map', values } };
    const type = avroType({ type: 'record', name: 'Tagged', fields: [tags] });
    const id = await serde.register(`tags-${typeof values}`, type);
    const map = (key: string): Buffer => wire(id, [2, key.length * 2, ...Buffer.from(key), 2, 0]);
    expect(await serde.decode(map('_proto___'), type)).toHaveProperty('tags._proto___');
    await expect(async () => await serde.decode(map('__proto__'), type)).rejects.toThrow(
      'has the key __proto__',
    );
  }
});

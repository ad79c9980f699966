import { afterEach, beforeEach, expect, test } from 'vitest';
import { type AvroType, avroType, type ContractField, type RecordSchema } from '../schemas/contracts.js';
import { drawEvent } from '../schemas/draw-event.js';
import { eventCheck } from '../schemas/event-check.js';
import { SchemaRegistryClient } from './schema-registry.js';
import { Serde } from './serde.js';
import { codeOf, TinyRegistry } from './testing/serde-fixture.js';

let registry: TinyRegistry;
let serde: Serde;
beforeEach(async () => {
  registry = new TinyRegistry();
  await registry.start();
  serde = new Serde(new SchemaRegistryClient({ url: registry.url }));
});
afterEach(() => registry.stop());

const customer = (...fields: ContractField[]): AvroType => ({ type: 'record', name: 'Customer', fields });

const order: RecordSchema = {
  type: 'record',
  name: 'Order',
  namespace: 'test',
  fields: [
    {
      name: 'customer',
      type: customer(
        { name: 'age', type: 'int', minimum: 0, maximum: 120 },
        { name: 'since', type: ['null', { type: 'int', logicalType: 'date' }], default: null },
      ),
    },
    { name: 'payer', type: ['null', 'Customer'], default: null },
    { name: 'readings', type: { type: 'array', items: 'float' } },
    { name: 'lines', type: { type: 'array', items: ['null', { type: 'map', values: 'double' }] } },
    { name: 'tags', type: { type: 'map', values: ['null', 'string'] }, default: {} },
    { name: 'kinds', type: { type: 'map', values: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } } },
  ],
};

function typeOf(schema: RecordSchema): ReturnType<typeof avroType> {
  return avroType(schema as Parameters<typeof avroType>[0]);
}

test('nested events are decoded as the checks gave them', async () => {
  const type = typeOf(order);
  const id = await serde.register('orders.events', type);
  const fits = eventCheck(order);
  let seed = 0;
  const random = (): number => (seed = (seed * 1103 + 12_345) % 10_007) / 10_007;
  for (let count = 0; count < 200; count++) {
    const event = drawEvent({ schema: order }, random);
    const decoded = await serde.decode(serde.encode(id, type, event), type);
    expect(fits(decoded)).toBe(true);
    expect(JSON.stringify(decoded)).toBe(JSON.stringify(event));
  }
});

test('nested values of another writer are read by the rules of resolution, at any depth', async () => {
  const reader = typeOf(order);
  const [, , readings, , , kinds] = order.fields;
  const written: RecordSchema = {
    ...order,
    name: 'PurchaseOrder',
    fields: [
      { ...readings, name: 'readings', type: { type: 'array', items: 'int' } },
      {
        name: 'customer',
        type: ['null', customer({ name: 'city', type: 'string' }, { name: 'age', type: 'long' })],
      },
      { name: 'lines', type: { type: 'array', items: { type: 'map', values: 'long' } } },
      { name: 'kinds', type: { type: 'map', values: { type: 'enum', name: 'Sort', symbols: ['B', 'C'] } } },
      { name: 'more', type: { type: 'array', items: { type: 'map', values: 'bytes' } } },
    ],
  };
  expect(kinds?.name).toBe('kinds');
  const writer = typeOf(written);
  const id = await serde.register('purchases', writer);
  const value = {
    readings: [1, 2],
    customer: { city: 'Bern', age: 40 },
    lines: [{ a: 5 }, {}],
    kinds: { x: 'B' },
    more: [{ y: Buffer.from('z') }],
  };
  const expected = {
    customer: { age: 40, since: null },
    payer: null,
    readings: [1, 2],
    lines: [{ a: 5 }, {}],
    tags: {},
    kinds: { x: 'B' },
  };
  const decode = async (change: object): Promise<unknown> =>
    await serde.decode(serde.encode(id, writer, { ...value, ...change }), reader);
  expect(JSON.stringify(await decode({}))).toBe(JSON.stringify(expected));
  for (const [change, problem] of [
    [{ customer: null }, 'customer is null, the contract has record test.Customer'],
    [{ customer: { city: '', age: 2 ** 40 } }, 'customer.age is 1099511627776, the contract has int'],
    [{ kinds: { x: 'B', 'y.z': 'C' } }, 'kinds.y.z is C, the contract has A, B'],
  ] as const)
    await expect(decode(change)).rejects.toThrow(problem);
});

test('a nested value that does not fit is not encoded', async () => {
  const type = typeOf(order);
  const id = await serde.register('orders', type);
  const event = drawEvent({ schema: order }, () => 0.5);
  expect(await codeOf(() => serde.encode(id, type, { ...event, readings: ['1'] }))).toMatchObject({
    code: 'UNENCODABLE',
  });
});

test('a value is shown as JSON that clients can send', async () => {
  const event = drawEvent({ schema: order }, () => 0.5);
  const full = {
    ...event,
    payer: { age: 5, since: 7 },
    tags: { a: null, b: 'x' },
    lines: [null, { 'c.d': 0.5 }],
  };
  const type = typeOf(order);
  const bytes = serde.encode(await serde.register('orders', type), type, full);
  expect(JSON.parse(await serde.toJson(bytes))).toEqual(full);
  const blob = typeOf({
    type: 'record',
    name: 'Blob',
    fields: [{ name: 'x', type: ['null', 'bytes', 'int'] }],
  });
  const id = await serde.register('blobs', blob);
  for (const [x, shown] of [
    [Buffer.from([0x41, 0xff]), 'A\u00ff'],
    [7, 7],
    [null, null],
  ] as const)
    expect(JSON.parse(await serde.toJson(serde.encode(id, blob, { x })))).toEqual({ x: shown });
});

/* oxlint-disable typescript/no-unsafe-type-assertion -- parsed JSON and caught errors */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import type { schema as avroSchema } from 'avsc';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SchemaRegistryClient } from './schema-registry.js';
import { schemaIdOf, Serde } from './serde.js';
import { avroType } from '../schemas/contracts.js';

type RecordSchema = avroSchema.RecordType;

/** The routes of a registry that the serde uses, with what went over them. */
class TinyRegistry {
  readonly schemas: { schema: string; schemaType?: string }[] = [];
  readonly requests: string[] = [];
  /** Answers instead of the registry's own. */
  broken: { status: number; body: string } | undefined;
  server: Server | undefined;
  url = '';

  async start(port = 0): Promise<void> {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.requests.push(`${request.method} ${request.url}`);
        const { status, body } =
          this.broken ?? this.#answer(request.url ?? '', Buffer.concat(chunks).toString());
        response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' }).end(body);
      });
    });
    const { server } = this;
    await new Promise<void>((resolve) => {
      server.listen(port, '127.0.0.1', resolve);
    });
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => {
      if (this.server) this.server.close(resolve);
    });
  }

  add(schema: object | string, schemaType?: string): number {
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema);
    const known = this.schemas.findIndex((entry) => entry.schema === text);
    if (known >= 0) return known + 1;
    this.schemas.push(schemaType === undefined ? { schema: text } : { schema: text, schemaType });
    return this.schemas.length;
  }

  #answer(url: string, body: string): { status: number; body: string } {
    if (/^\/subjects\/[^/]+\/versions$/.test(url)) {
      const { schema } = JSON.parse(body) as { schema: string };
      if (schema.includes('"refused"')) return error(409, 409, 'Schema being registered is incompatible');
      if (schema.includes('"invalid"')) return error(422, 42201, 'Invalid schema');
      return { status: 200, body: JSON.stringify({ id: this.add(schema) }) };
    }
    const id = /^\/schemas\/ids\/(-?\d+)/.exec(url)?.[1];
    if (id !== undefined) {
      const entry = this.schemas[Number(id) - 1];
      return entry ? { status: 200, body: JSON.stringify(entry) } : error(404, 40403, 'Schema not found');
    }
    return error(404, 40401, 'Subject not found');
  }
}

function error(status: number, code: number, message: string): { status: number; body: string } {
  return { status, body: JSON.stringify({ error_code: code, message }) };
}

const trip: RecordSchema = {
  type: 'record',
  name: 'Trip',
  doc: 'One ride.',
  fields: [
    { name: 'id', type: 'string', doc: 'Its name.' },
    { name: 'miles', type: ['null', 'double'], default: null },
    { name: 'started', type: 'long' },
  ],
};

const wire = (id: number, body: number[] | Buffer): Buffer => {
  const header = Buffer.alloc(5);
  header.writeInt32BE(id, 1);
  return Buffer.concat([header, Buffer.from(body)]);
};

const field = (name: string, value: number): object => ({ name, type: 'int', default: value });
const named = (name: string): ReturnType<typeof avroType> => avroType({ type: 'record', name, fields: [] });

let registry: TinyRegistry;
let serde: Serde;
beforeEach(async () => {
  registry = new TinyRegistry();
  await registry.start();
  serde = new Serde(new SchemaRegistryClient({ url: registry.url, timeoutMs: 500 }));
});
afterEach(() => registry.stop());

const codeOf = async (call: () => unknown): Promise<{ code: string; retriable: boolean }> => {
  try {
    await call();
  } catch (thrown) {
    const { code, retriable } = thrown as { code: string; retriable: boolean };
    return { code, retriable };
  }
  return { code: 'NONE', retriable: false };
};

describe('encode and decode', () => {
  test('a value comes back as it was, at once, with nullable fields plain', async () => {
    const type = avroType(trip);
    const id = await serde.register('trips', type);
    expect(registry.requests).toEqual(['POST /subjects/trips-value/versions']);
    const bytes = serde.encode(id, type, { id: 'a', miles: 1.5, started: 1_700_000_000_000 });
    expect(schemaIdOf(bytes)).toBe(id);
    expect(serde.decode(bytes, type)).toEqual({ id: 'a', miles: 1.5, started: 1_700_000_000_000 });
    const without = serde.encode(id, type, { id: 'b', miles: null, started: 1 });
    expect(serde.decode(without, type)).toEqual({ id: 'b', miles: null, started: 1 });
  });

  test('the registered schema keeps docs and defaults', async () => {
    await serde.register('trips', avroType(trip));
    expect(JSON.parse(registry.schemas[0]?.schema ?? '')).toEqual(trip);
  });

  test('values share a slab without touching each other; large ones get their own', async () => {
    const type = avroType({ type: 'record', name: 'Text', fields: [{ name: 'text', type: 'string' }] });
    const id = await serde.register('texts', type);
    const texts = Array.from({ length: 3_000 }, (_, index) => 'é'.repeat((index * 7) % 100) + index);
    texts.push('x'.repeat(100_000), 'y'.repeat(20_000), 'end');
    const encoded = texts.map((text) => serde.encode(id, type, { text }));
    expect(encoded.map((bytes) => serde.decode(bytes, type))).toEqual(texts.map((text) => ({ text })));
  });

  test('reads what @kafkajs/confluent-schema-registry writes, and the other way round', async () => {
    const type = avroType(trip);
    const id = await serde.register('trips', type);
    const other = new SchemaRegistry({ host: registry.url });
    const value = { id: 'a', miles: 2.25, started: 17 };
    expect(serde.decode(await other.encode(id, value), type)).toEqual(value);
    expect(await other.decode(serde.encode(id, type, value))).toEqual(value);
  });

  test('a value that does not fit is refused', async () => {
    const type = avroType(trip);
    const id = await serde.register('trips', type);
    expect(await codeOf(() => serde.encode(id, type, { id: 5 }))).toEqual({
      code: 'UNENCODABLE',
      retriable: false,
    });
  });
});

describe('schema versions', () => {
  test('an older writer is resolved with defaults; its schema is fetched once for many records', async () => {
    const id = registry.add({
      type: 'record',
      name: 'Trip',
      fields: [
        { name: 'id', type: 'string' },
        { name: 'started', type: 'int' },
        { name: 'gone', type: ['null', 'string', 'int'] },
      ],
    });
    const reader = avroType(trip);
    const bytes = wire(id, [2, 0x61, 4, 2, 2, 0x62]);
    const expected = { id: 'a', miles: null, started: 2 };
    const first = serde.decode(bytes, reader);
    expect(first).toBeInstanceOf(Promise);
    expect(await Promise.all([first, serde.decode(bytes, reader)])).toEqual([expected, expected]);
    expect(serde.decode(bytes, reader)).toEqual(expected);
    expect(registry.requests).toHaveLength(1);
  });

  test('two readers of one writer do not mix', async () => {
    const id = registry.add({ type: 'record', name: 'N', fields: [{ name: 'a', type: 'int' }] });
    const one = avroType({ type: 'record', name: 'N', fields: [field('a', 0), field('b', 1)] } as never);
    const two = avroType({ type: 'record', name: 'N', fields: [field('a', 0), field('b', 2)] } as never);
    const results = await Promise.all([serde.decode(wire(id, [8]), one), serde.decode(wire(id, [8]), two)]);
    expect(results).toEqual([
      { a: 4, b: 1 },
      { a: 4, b: 2 },
    ]);
  });

  test.each([
    ['a field without default is missing', { type: 'record', name: 'Trip', fields: [] }, undefined],
    ['it is not valid Avro', { type: 'no such type' }, undefined],
    ['it is not JSON', '{', undefined],
    ['it is protobuf', 'syntax = "proto3";', 'PROTOBUF'],
    [
      'it nests too deep',
      '{"type":"array","items":'.repeat(20_000) + '"int"' + '}'.repeat(20_000),
      undefined,
    ],
  ])('a writer is incompatible when %s, and asked for once', async (_why, schema, schemaType) => {
    const id = registry.add(schema, schemaType);
    const reader = avroType(trip);
    const expected = { code: 'SCHEMA_INCOMPATIBLE', retriable: false };
    expect(await codeOf(() => serde.decode(wire(id, [0]), reader))).toEqual(expected);
    expect(await codeOf(() => serde.decode(wire(id, [0]), reader))).toEqual(expected);
    expect(registry.requests).toHaveLength(1);
  });

  test('an unknown id is asked for once in a while only', async () => {
    const reader = avroType(trip);
    const expected = { code: 'SCHEMA_UNKNOWN', retriable: false };
    for (let index = 0; index < 5; index++)
      expect(await codeOf(() => serde.decode(wire(999, [0]), reader))).toEqual(expected);
    expect(registry.requests).toHaveLength(1);
  });
});

describe('a registry in trouble', () => {
  const expected = { code: 'REGISTRY_UNAVAILABLE', retriable: true };

  test.each([
    ['fails', { status: 500, body: '{"error_code":50001,"message":"store"}' }],
    ['is another web server', { status: 404, body: '<html>Not found</html>' }],
    ['refuses the key', { status: 401, body: '{"error_code":401,"message":"no"}' }],
    ['answers nonsense', { status: 200, body: '[]' }],
  ])('one that %s is never taken for a bad record', async (_what, answer) => {
    const id = registry.add(trip);
    registry.broken = answer;
    const type = avroType(trip);
    expect(await codeOf(() => serde.decode(wire(id, [0]), type))).toEqual(expected);
    expect(await codeOf(() => serde.register('trips', type))).toEqual(expected);
    registry.broken = undefined;
    expect(await serde.decode(wire(id, [2, 0x61, 0, 2]), type)).toEqual({ id: 'a', miles: null, started: 1 });
  });

  test('one that is down is retriable and used again when it is back', async () => {
    const id = registry.add(trip);
    const { port } = new URL(registry.url);
    await registry.stop();
    const type = avroType(trip);
    expect(await codeOf(() => serde.decode(wire(id, [0]), type))).toEqual(expected);
    await registry.start(Number(port));
    expect(await serde.decode(wire(id, [2, 0x61, 0, 2]), type)).toMatchObject({ id: 'a' });
  });

  test('one that never answers is given up in time', async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const waiting = new Serde(new SchemaRegistryClient({ url, timeoutMs: 50 }));
    expect(await codeOf(() => waiting.decode(wire(1, [0]), avroType(trip)))).toEqual(expected);
    server.closeAllConnections();
    server.close();
  });

  test('a refused and an invalid schema are told apart', async () => {
    expect((await codeOf(() => serde.register('t', named('refused')))).code).toBe('SCHEMA_INCOMPATIBLE');
    expect((await codeOf(() => serde.register('t', named('invalid')))).code).toBe('SCHEMA_INVALID');
  });
});

describe('bytes that are not a value', () => {
  const reader = avroType(trip);
  const undecodable = { code: 'UNDECODABLE', retriable: false };
  // Zigzag of 2^53 + 1, of which a number keeps 2^53 only.
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

  /** R34 = {a: R33, b: R33} and so on down: a short text, and 2^34 parts in each value. */
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

  test('a chain of a million links is undecodable, not a crash', async () => {
    const chain = avroType({
      type: 'record',
      name: 'Link',
      fields: [{ name: 'next', type: ['null', 'Link'] }],
    });
    const id = await serde.register('chains', chain);
    expect(await codeOf(() => serde.decode(wire(id, Buffer.alloc(1_000_000, 2)), chain))).toEqual(
      undecodable,
    );
  });

  test('random bytes never do worse than undecodable', async () => {
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
});

/* oxlint-disable typescript/no-unsafe-type-assertion -- parsed JSON and caught errors */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { avroType } from '../schemas/contracts.js';
import { SchemaRegistryClient } from './schema-registry.js';
import { schemaIdOf, Serde } from './serde.js';
import { codeOf, TinyRegistry, trip, wire } from './testing/serde-fixture.js';

const field = (name: string, value: number): object => ({ name, type: 'int', default: value });
const named = (name: string): ReturnType<typeof avroType> => avroType({ type: 'record', name, fields: [] });

const secret = 'pass-word-1';

let registry: TinyRegistry;
let serde: Serde;
beforeEach(async () => {
  registry = new TinyRegistry();
  await registry.start();
  serde = new Serde(new SchemaRegistryClient({ url: registry.url }));
});
afterEach(() => registry.stop());

describe('encode and decode', () => {
  test('a value is decoded unchanged, synchronously, with nullable fields plain', async () => {
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

  test('values share a slab without overlap; large ones get their own', async () => {
    const type = avroType({ type: 'record', name: 'Text', fields: [{ name: 'text', type: 'string' }] });
    const id = await serde.register('texts', type);
    const texts = Array.from({ length: 3_000 }, (_, index) => 'é'.repeat((index * 7) % 100) + index);
    texts.push('x'.repeat(100_000), 'y'.repeat(20_000), 'end');
    const encoded = texts.map((text) => serde.encode(id, type, { text }));
    expect(encoded.map((bytes) => serde.decode(bytes, type))).toEqual(texts.map((text) => ({ text })));
  });

  test('is compatible with @kafkajs/confluent-schema-registry in both directions', async () => {
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
  ])('a writer is incompatible when %s, and fetched once', async (_why, schema, schemaType) => {
    const id = registry.add(schema, schemaType);
    const reader = avroType(trip);
    const expected = { code: 'SCHEMA_INCOMPATIBLE', retriable: false };
    expect(await codeOf(() => serde.decode(wire(id, [0]), reader))).toEqual(expected);
    expect(await codeOf(() => serde.decode(wire(id, [0]), reader))).toEqual(expected);
    expect(registry.requests).toHaveLength(1);
  });

  test('a writer’s nullable field is read if it has a value, and missing values are reported', async () => {
    const reader = avroType(trip);
    const fields = trip.fields.map((each) => ({ ...each, type: ['null', each.type].flat() }));
    const miles = fields.map((each) => (each.name === 'miles' ? { ...each, type: 'double' } : each));
    const id = registry.add({ ...trip, namespace: 'com.acme', fields: miles });
    const body = [2, 2, 0x61, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 2, 8];
    const expected = { id: 'a', miles: 1.5, started: 4 };
    expect(await serde.decode(wire(id, body), reader)).toEqual(expected);
    expect(serde.decode(wire(id, body), reader)).toEqual(expected);
    const without = (): unknown => serde.decode(wire(id, [...body.slice(0, -2), 0]), reader);
    expect(await codeOf(without)).toEqual({ code: 'UNDECODABLE', retriable: false });
    expect(without).toThrow(
      `The value is not what schema ${id} says: started is null, the contract has long.`,
    );
  });

  test('an unknown id is requested only at intervals', async () => {
    const reader = avroType(trip);
    const expected = { code: 'SCHEMA_UNKNOWN', retriable: false };
    for (let index = 0; index < 5; index++)
      expect(await codeOf(() => serde.decode(wire(999, [0]), reader))).toEqual(expected);
    expect(registry.requests).toHaveLength(1);
  });
});

test('a subject gets a level that keeps it readable, unless it has one or the registry refuses', async () => {
  expect(await serde.keepReadable('trips')).toBe('set');
  expect(registry.levels.get('trips-value')).toBe('FULL_TRANSITIVE');
  registry.levels.set('trips-value', 'NONE');
  expect(await serde.keepReadable('trips')).toBe('kept');
  expect(registry.levels.get('trips-value')).toBe('NONE');
  expect(await serde.keepReadable('refused')).toEqual({ refused: 'not yours' });
  registry.broken = { status: 404, body: '<html>Not found</html>' };
  expect(await codeOf(() => serde.keepReadable('other'))).toEqual({
    code: 'REGISTRY_UNAVAILABLE',
    retriable: true,
  });
});

describe('a failing registry', () => {
  const expected = { code: 'REGISTRY_UNAVAILABLE', retriable: true };

  test.each([
    ['fails', { status: 500, body: '{"error_code":50001,"message":"store"}' }],
    ['is another web server', { status: 404, body: '<html>Not found</html>' }],
    ['refuses the key', { status: 401, body: '{"error_code":401,"message":"no"}' }],
    ['answers nonsense', { status: 200, body: '[]' }],
  ])('that %s is never reported as a bad record', async (_what, answer) => {
    const id = registry.add(trip);
    registry.broken = answer;
    const type = avroType(trip);
    expect(await codeOf(() => serde.decode(wire(id, [0]), type))).toEqual(expected);
    expect(await codeOf(() => serde.register('trips', type))).toEqual(expected);
    registry.broken = undefined;
    expect(await serde.decode(wire(id, [2, 0x61, 0, 2]), type)).toEqual({ id: 'a', miles: null, started: 1 });
  });

  test('that is down is retriable and used again when it is up', async () => {
    const id = registry.add(trip);
    const { port } = new URL(registry.url);
    await registry.stop();
    const type = avroType(trip);
    expect(await codeOf(() => serde.decode(wire(id, [0]), type))).toEqual(expected);
    await registry.start(Number(port));
    expect(await serde.decode(wire(id, [2, 0x61, 0, 2]), type)).toMatchObject({ id: 'a' });
  });

  test.each<[string, RequestListener]>([
    ['never answers', () => undefined],
    [
      'cuts its answer',
      (_, response) => {
        response.writeHead(200, { 'content-length': 100 }).write('{');
        setImmediate(() => response.destroy());
      },
    ],
    [
      'goes on without an end',
      (_, response) => {
        const writing = setInterval(() => response.write(' '), 10);
        response.on('close', () => clearInterval(writing));
      },
    ],
  ])('that %s times out', async (_what, listener) => {
    const server = createServer(listener);
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const waiting = new Serde(new SchemaRegistryClient({ url, timeoutMs: 50 }));
    expect(await codeOf(() => waiting.decode(wire(1, [0]), avroType(trip)))).toEqual(expected);
    server.closeAllConnections();
    server.close();
  });

  test('gets user and password in any characters, and no error contains them', async () => {
    const seen: unknown[] = [];
    const server = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(500).end();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    const url = `http://us%C3%A9r:${secret}@127.0.0.1:${port}/base/`;
    // Settings of TLS may be set for an address without it.
    const client = new SchemaRegistryClient({ url, tls: {} });
    const failure: unknown = await client.ping().catch((error: unknown) => error);
    expect(seen).toEqual([`Basic ${Buffer.from(`usér:${secret}`).toString('base64')}`]);
    expect(failure).toMatchObject({ code: 'REGISTRY_UNAVAILABLE', retriable: true });
    expect(inspect(failure, { depth: 10 })).not.toMatch(new RegExp(`${secret}|Basic`));
    server.closeAllConnections();
    server.close();
  });

  test('a refused and an invalid schema have different errors', async () => {
    expect((await codeOf(() => serde.register('t', named('refused')))).code).toBe('SCHEMA_INCOMPATIBLE');
    expect((await codeOf(() => serde.register('t', named('invalid')))).code).toBe('SCHEMA_INVALID');
  });
});

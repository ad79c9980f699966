import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { breaking, failed, recordSchema, TestRegistry, v1, v2 } from './testing/test-registry.js';

let registry: TestRegistry;

beforeEach(async () => {
  registry = new TestRegistry();
  await registry.start();
});

afterEach(async () => {
  await registry.stop();
});

async function check(path: string, schema: string): Promise<unknown> {
  return (await registry.call('POST', `/compatibility/subjects/${path}`, { schema }))[1];
}

describe('schemas and subjects', () => {
  test('refuses a body that is no UTF-8, and registers nothing', async () => {
    const schema = JSON.stringify({ schema: '{"type":"string","doc":"Gr?n"}' });
    const answer = await fetch(`${registry.url}/subjects/latin/versions`, {
      method: 'POST',
      body: Buffer.from(schema.replace('?', '\u00fc'), 'latin1'),
    });
    expect(answer.status).toBe(400);
    expect(await registry.call('GET', '/subjects')).toEqual([200, []]);
  });

  test('gives one id to the same schema, whatever the subject and its white space', async () => {
    expect(await registry.register('s1', v1)).toEqual([200, { id: 1 }]);
    expect(await registry.register('s1', v2)).toEqual([200, { id: 2 }]);
    expect(await registry.register('s2', ` ${v1} `)).toEqual([200, { id: 1 }]);
    expect(await registry.register('s1', v1)).toEqual([200, { id: 1 }]);
    expect(await registry.call('GET', '/subjects')).toEqual([200, ['s1', 's2']]);
    expect(await registry.call('GET', '/subjects/s1/versions')).toEqual([200, [1, 2]]);
    expect(await registry.call('GET', '/schemas/ids/1')).toEqual([200, { schema: v1 }]);
    expect(await registry.call('GET', '/schemas/ids/2/schema')).toEqual([200, JSON.parse(v2)]);
    expect(await registry.call('GET', '/schemas/ids/1/versions')).toEqual([
      200,
      [
        { subject: 's1', version: 1 },
        { subject: 's2', version: 1 },
      ],
    ]);
    expect(await registry.call('GET', '/schemas/ids/1/subjects')).toEqual([200, ['s1', 's2']]);
    expect(await registry.call('GET', '/subjects/s1/versions/latest')).toEqual([
      200,
      { subject: 's1', version: 2, id: 2, schema: v2 },
    ]);
    expect(await registry.call('GET', '/subjects/s1/versions/1/schema')).toEqual([200, JSON.parse(v1)]);
    expect(await registry.call('GET', '/subjects/s1/versions/1/referencedby')).toEqual([200, []]);
    expect(await registry.call('GET', '/schemas/types')).toEqual([200, ['AVRO']]);
    expect(await registry.call('GET', '/contexts')).toEqual([200, ['.']]);
    expect(await registry.call('GET', '/schemas?subjectPrefix=s1&latestOnly=true')).toEqual([
      200,
      [{ subject: 's1', version: 2, id: 2, schema: v2 }],
    ]);
  });

  test('finds the version that a schema has in a subject', async () => {
    await registry.register('s', v1);
    await registry.register('s', v2);
    expect(await registry.call('POST', '/subjects/s', { schema: v1 })).toEqual([
      200,
      { subject: 's', version: 1, id: 1, schema: v1 },
    ]);
    expect(await registry.call('POST', '/subjects/s', { schema: '"int"' })).toEqual([404, failed(40403)]);
    expect(await registry.call('POST', '/subjects/none', { schema: v1 })).toEqual([404, failed(40401)]);
  });

  test('accepts subjects with any characters', async () => {
    const subject = 'a/b c:%é';
    expect(await registry.register(encodeURIComponent(subject), v1)).toEqual([200, { id: 1 }]);
    expect(await registry.call('GET', '/subjects')).toEqual([200, [subject]]);
    expect((await registry.call('GET', `/subjects/${encodeURIComponent(subject)}/versions/1`))[0]).toBe(200);
  });

  test('stores the canonical text when asked to normalize', async () => {
    await registry.call('POST', '/subjects/s/versions?normalize=true', {
      schema: '{ "type": "fixed", "size": 2, "name": "F" }',
    });
    expect(await registry.call('GET', '/schemas/ids/1')).toEqual([
      200,
      { schema: '{"name":"F","size":2,"type":"fixed"}' },
    ]);
  });

  test.each([
    ['GET', '/subjects/none/versions', undefined, 404, 40401],
    ['GET', '/subjects/none/versions/1', undefined, 404, 40401],
    ['GET', '/subjects/s/versions/9', undefined, 404, 40402],
    ['GET', '/subjects/s/versions/0', undefined, 422, 42202],
    ['GET', '/subjects/s/versions/x', undefined, 422, 42202],
    ['GET', '/schemas/ids/9', undefined, 404, 40403],
    ['GET', '/schemas/ids/x', undefined, 404, 40403],
    ['GET', '/nothing', undefined, 404, 404],
    ['DELETE', '/subjects/none', undefined, 404, 40401],
    ['DELETE', '/subjects/s/versions/9', undefined, 404, 40402],
    ['POST', '/subjects/s/versions', { schema: '{"type":"none"}' }, 422, 42201],
    ['POST', '/subjects/s/versions', { schema: '{' }, 422, 42201],
    ['POST', '/subjects/s/versions', {}, 422, 42201],
    ['POST', '/subjects/s/versions', { schema: '{}', schemaType: 'JSON' }, 422, 42201],
    ['POST', '/subjects/s/versions', { schema: 'syntax="proto3";', schemaType: 'PROTOBUF' }, 422, 42201],
    [
      'POST',
      '/subjects/s/versions',
      { schema: v2, references: [{ name: 'x', subject: 's', version: 1 }] },
      422,
      42201,
    ],
    ['POST', '/subjects/s/versions', { schema: v2, id: 7 }, 422, 42205],
    ['POST', '/subjects/s/versions', { schema: breaking }, 409, 409],
    ['POST', '/subjects/s/versions', { schema: '{"type":"array","items":"null"}' }, 422, 42201],
    ['POST', '/subjects/s/versions', { schema: 'x'.repeat(2_000_000) }, 413, 413],
    ['PUT', '/config', { compatibility: 'SIDEWAYS' }, 422, 42203],
    ['PUT', '/config/s', {}, 422, 42203],
    ['PUT', '/mode', { mode: 'SLEEP' }, 422, 42204],
    ['GET', '/config/s', undefined, 404, 40408],
    ['DELETE', '/config/s', undefined, 404, 40408],
    ['GET', '/mode/s', undefined, 404, 40409],
    ['POST', '/compatibility/subjects/s/versions/9', { schema: v1 }, 404, 40402],
    ['POST', '/compatibility/subjects/none/versions/1', { schema: v1 }, 404, 40401],
  ])('%s %s %o is %i, error code %i', async (method, path, body, status, code) => {
    await registry.register('s', v1);
    expect(await registry.call(method, path, body)).toEqual([status, failed(code)]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1]]);
  });

  test('a body that is no JSON is 400, and another site is refused', async () => {
    const url = `${registry.url}/subjects/s/versions`;
    expect((await fetch(url, { method: 'POST', body: '{' })).status).toBe(400);
    const crossOrigin = await fetch(url, {
      method: 'POST',
      body: JSON.stringify({ schema: v1 }),
      headers: { origin: 'https://site.example' },
    });
    expect(crossOrigin.status).toBe(403);
    expect(await registry.call('GET', '/subjects')).toEqual([200, []]);
  });
});

describe('deleting', () => {
  beforeEach(async () => {
    await registry.register('s', v1);
    await registry.register('s', v2);
  });

  test('a subject: hidden first, then removed, its ids never assigned again', async () => {
    await registry.call('PUT', '/config/s', { compatibility: 'FULL' });
    expect(await registry.call('DELETE', '/subjects/s?permanent=true')).toEqual([404, failed(40405)]);
    expect(await registry.call('DELETE', '/subjects/s')).toEqual([200, [1, 2]]);
    expect(await registry.call('DELETE', '/subjects/s')).toEqual([404, failed(40404)]);
    expect(await registry.call('GET', '/subjects')).toEqual([200, []]);
    expect(await registry.call('GET', '/subjects?deleted=true')).toEqual([200, ['s']]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([404, failed(40401)]);
    expect(await registry.call('GET', '/subjects/s/versions?deleted=true')).toEqual([200, [1, 2]]);
    expect((await registry.call('GET', '/subjects/s/versions/1?deleted=true'))[0]).toBe(200);
    expect(await registry.call('GET', '/schemas/ids/2')).toEqual([200, { schema: v2 }]);
    expect(await registry.call('GET', '/config/s')).toEqual([404, failed(40408)]);
    expect(await registry.call('DELETE', '/subjects/s?permanent=true')).toEqual([200, [1, 2]]);
    expect(await registry.call('GET', '/schemas/ids/2')).toEqual([404, failed(40403)]);
    registry.log.compact();
    await registry.restart();
    expect(await registry.register('s', v2)).toEqual([200, { id: 3 }]);
  });

  test('a version: hidden first, then removed; registered again it is a new version with its old id', async () => {
    expect(await registry.call('DELETE', '/subjects/s/versions/2?permanent=true')).toEqual([
      404,
      failed(40407),
    ]);
    expect(await registry.call('DELETE', '/subjects/s/versions/latest')).toEqual([200, 2]);
    expect(await registry.call('DELETE', '/subjects/s/versions/2')).toEqual([404, failed(40406)]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1]]);
    expect(await registry.call('GET', '/subjects/s/versions/2')).toEqual([404, failed(40402)]);
    expect(await registry.register('s', v2)).toEqual([200, { id: 2 }]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1, 3]]);
    expect(await registry.call('DELETE', '/subjects/s/versions/2?permanent=true')).toEqual([200, 2]);
    expect(await registry.call('GET', '/subjects/s/versions?deleted=true')).toEqual([200, [1, 3]]);
  });
});

describe('compatibility', () => {
  test('gives the reasons when asked', async () => {
    await registry.register('s', v1);
    expect(await check('s/versions/latest', v2)).toEqual({ is_compatible: true });
    expect(await check('s/versions/latest', breaking)).toEqual({ is_compatible: false });
    expect(await check('s/versions/1?verbose=true', breaking)).toEqual({
      is_compatible: false,
      messages: [expect.stringContaining('c')],
    });
    expect(await check('s/versions/1?verbose=true', v2)).toEqual({ is_compatible: true, messages: [] });
    expect(await check('none/versions/latest', v2)).toEqual({ is_compatible: true });
  });

  test('a transitive level checks all versions, the plain one the latest', async () => {
    const withoutDefault = recordSchema({ name: 'a', type: 'int' }, { name: 'b', type: 'string' });
    await registry.register('s', v1);
    await registry.register('s', v2);
    expect(await check('s/versions', withoutDefault)).toEqual({ is_compatible: true });
    await registry.call('PUT', '/config/s', { compatibility: 'BACKWARD_TRANSITIVE' });
    expect(await check('s/versions', withoutDefault)).toEqual({ is_compatible: false });
    expect(await registry.register('s', withoutDefault)).toEqual([409, failed(409)]);
    await registry.call('PUT', '/config/s', { compatibility: 'backward' });
    expect((await registry.register('s', withoutDefault))[0]).toBe(200);
  });

  test.each([
    ['NONE', true],
    ['BACKWARD', false],
    ['FORWARD', true],
    ['FULL', false],
  ])('level %s for all subjects accepts a field without default: %s', async (level, allowed) => {
    await registry.register('s', v1);
    expect(await registry.call('PUT', '/config', { compatibility: level })).toEqual([
      200,
      { compatibility: level },
    ]);
    expect(await registry.call('GET', '/config')).toEqual([200, { compatibilityLevel: level }]);
    expect((await registry.register('s', breaking))[0]).toBe(allowed ? 200 : 409);
  });

  test('a subject has its own level, or that of all', async () => {
    expect(await registry.call('GET', '/config')).toEqual([200, { compatibilityLevel: 'BACKWARD' }]);
    expect(await registry.call('GET', '/config/s?defaultToGlobal=true')).toEqual([
      200,
      { compatibilityLevel: 'BACKWARD' },
    ]);
    await registry.call('PUT', '/config/s', { compatibility: 'FULL' });
    expect(await registry.call('GET', '/config/s')).toEqual([200, { compatibilityLevel: 'FULL' }]);
    expect(await registry.call('DELETE', '/config/s')).toEqual([200, { compatibilityLevel: 'FULL' }]);
    expect(await registry.call('GET', '/config/s')).toEqual([404, failed(40408)]);
  });
});

describe('mode', () => {
  test('read-only refuses writes, of one subject or of all', async () => {
    await registry.register('s', v1);
    expect(await registry.call('GET', '/mode')).toEqual([200, { mode: 'READWRITE' }]);
    await registry.call('PUT', '/mode/s', { mode: 'READONLY' });
    expect(await registry.register('s', v2)).toEqual([422, failed(42205)]);
    expect(await registry.register('s', v1)).toEqual([200, { id: 1 }]);
    expect(await registry.call('DELETE', '/subjects/s')).toEqual([422, failed(42205)]);
    expect((await registry.register('other', v2))[0]).toBe(200);
    expect(await registry.call('DELETE', '/mode/s')).toEqual([200, { mode: 'READONLY' }]);
    await registry.call('PUT', '/mode', { mode: 'READONLY' });
    expect(await registry.register('s', v2)).toEqual([422, failed(42205)]);
  });

  test('import accepts given ids and versions', async () => {
    await registry.call('PUT', '/mode/s', { mode: 'IMPORT' });
    const imported = await registry.call('POST', '/subjects/s/versions', { schema: v1, id: 100, version: 7 });
    expect(imported).toEqual([200, { id: 100 }]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [7]]);
    expect(await registry.call('POST', '/subjects/s/versions', { schema: v2, id: 100 })).toEqual([
      422,
      failed(42205),
    ]);
    expect(await registry.call('PUT', '/mode', { mode: 'IMPORT' })).toEqual([422, failed(42205)]);
    await registry.call('PUT', '/mode/s', { mode: 'READWRITE' });
    expect(await registry.register('s', v2)).toEqual([200, { id: 101 }]);
  });
});

describe('with the client that Millrace uses', () => {
  test('registers, encodes, decodes and looks up', async () => {
    const client = new SchemaRegistry({ host: registry.url });
    const { id } = await client.register({ type: SchemaType.AVRO, schema: v1 }, { subject: 's-value' });
    expect(await registry.call('GET', '/config/s-value')).toEqual([200, { compatibilityLevel: 'BACKWARD' }]);
    const bytes = await client.encode(id, { a: 7 });
    const other = new SchemaRegistry({ host: registry.url });
    expect(await other.decode(bytes)).toEqual({ a: 7 });
    expect(await other.getLatestSchemaId('s-value')).toBe(id);
    expect(await other.getRegistryId('s-value', 1)).toBe(id);
    expect(await other.getRegistryIdBySchema('s-value', { type: SchemaType.AVRO, schema: v1 })).toBe(id);
    await expect(
      client.register({ type: SchemaType.AVRO, schema: breaking }, { subject: 's-value' }),
    ).rejects.toThrow(/incompatible/);
    await expect(other.getSchema(99)).rejects.toMatchObject({ status: 404 });
  });
});

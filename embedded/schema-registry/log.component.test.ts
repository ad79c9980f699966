import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { failed, recordSchema, TestRegistry, v1, v2 } from './testing/test-registry.js';

let registry: TestRegistry;

beforeEach(async () => {
  registry = new TestRegistry();
  await registry.start();
});

afterEach(async () => {
  await registry.stop();
});

function deferred() {
  const parts = { promise: Promise.resolve(), resolve: () => {} };
  parts.promise = new Promise<void>((resolve) => {
    parts.resolve = resolve;
  });
  return parts;
}

describe('the log', () => {
  test('has everything that was acknowledged, after a restart', async () => {
    await registry.register('s', v1);
    await registry.register('s', v2);
    await registry.register('t', v1);
    await registry.call('DELETE', '/subjects/s/versions/1');
    await registry.call('PUT', '/config/t', { compatibility: 'FULL' });
    await registry.call('PUT', '/mode', { mode: 'READONLY' });
    const paths = [
      '/subjects',
      '/schemas?deleted=true',
      '/subjects/s/versions',
      '/config/t',
      '/mode',
      '/schemas/ids/1/versions',
    ];
    const before = await Promise.all(paths.map(async (path) => await registry.call('GET', path)));
    registry.log.compact();
    await registry.restart();
    expect(await Promise.all(paths.map(async (path) => await registry.call('GET', path)))).toEqual(before);
    expect(registry.log.records[0]?.key?.toString()).toBe(
      '{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}',
    );
  });

  test('foreign records are skipped', async () => {
    await registry.register('s', v1);
    for (const text of [
      '',
      'garbage',
      '{}',
      '{"keytype":"NOOP","magic":0}',
      '{"keytype":"SCHEMA","subject":"s"}',
    ]) {
      registry.log.records.push({ key: Buffer.from(text), value: Buffer.from('{"x":1}') });
    }
    registry.log.records.push({ key: null, value: null });
    await registry.restart();
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1]]);
  });

  test.each([
    ['whose schema is no JSON', { subject: 's', version: 2, id: 7, schema: '{"type":' }],
    ['of another subject than its key', { subject: 't', version: 2, id: 7, schema: '"int"' }],
    ['of another version than its key', { subject: 's', version: 1, id: 7, schema: '"int"' }],
    ['with an id that no message can name', { subject: 's', version: 2, id: 2 ** 40, schema: '"int"' }],
  ])('a record %s changes nothing: its subject accepts the next version', async (_what, value) => {
    await registry.register('s', v1);
    const key = { keytype: 'SCHEMA', subject: 's', version: 2, magic: 1 };
    const [keyBytes, valueBytes] = [key, value].map((part) => Buffer.from(JSON.stringify(part)));
    registry.log.records.push({ key: keyBytes ?? null, value: valueBytes ?? null });
    await registry.restart();
    expect(await registry.call('GET', '/subjects')).toEqual([200, ['s']]);
    expect(await registry.register('s', v2)).toEqual([200, { id: 2 }]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1, 2]]);
  });

  test('a write is answered only after the log has it, and not applied when the log fails', async () => {
    const appending = deferred();
    const release = deferred();
    registry.log.beforeAppend = async () => {
      appending.resolve();
      await release.promise;
    };
    const answered = vi.fn<() => void>();
    const answer = registry.register('s', v1).finally(answered);
    await appending.promise;
    expect(await registry.call('GET', '/subjects')).toEqual([200, []]);
    expect(answered).not.toHaveBeenCalled();
    release.resolve();
    expect(await answer).toEqual([200, { id: 1 }]);
    registry.log.beforeAppend = () => Promise.reject(new Error('disk full'));
    expect(await registry.register('s', v2)).toEqual([500, failed(50001)]);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1]]);
    registry.log.beforeAppend = () => Promise.resolve();
    expect(await registry.register('s', v2)).toEqual([200, { id: 2 }]);
  });

  test('concurrent writers get one id for one schema, and no version twice', async () => {
    const schemas = Array.from({ length: 20 }, (_, i) =>
      recordSchema({ name: 'a', type: 'int', doc: `${i % 5}` }),
    );
    const ids = await Promise.all(schemas.map(async (schema) => await registry.register('s', schema)));
    expect(new Set(ids.map((answer) => JSON.stringify(answer))).size).toBe(5);
    expect(await registry.call('GET', '/subjects/s/versions')).toEqual([200, [1, 2, 3, 4, 5]]);
  });
});

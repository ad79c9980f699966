import { mkdtemp, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { type ApiKeyEntry, ApiKeys, makeApiKey } from './api-keys.js';

let folder: string;
let file: string;
let keys: ApiKeys | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-keys-'));
  file = join(folder, 'keys.json');
});

afterEach(async () => {
  keys?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function save(...entries: ApiKeyEntry[]): Promise<void> {
  await writeFile(file, JSON.stringify({ keys: entries }));
}

function open(now?: () => number): ApiKeys {
  keys = new ApiKeys({
    file,
    pipelines: () => ['a', 'b'],
    logger: silentLogger,
    ...(now === undefined ? {} : { now }),
  });
  return keys;
}

it('finds the client and the permissions of a key', async () => {
  const { key, entry } = makeApiKey({
    name: 'shop',
    pipelines: ['a'],
    scopes: ['score'],
    rate_limit_per_second: 5,
  });
  await save(entry);
  expect(open().find(key)).toEqual({
    name: 'shop',
    id: 'name:shop',
    scopes: new Set(['score']),
    pipelines: new Set(['a']),
    perSecond: 5,
  });
  expect(() => keys?.find('')).toThrow(/Send one of the API keys/);
  expect(() => keys?.find(entry.sha256)).toThrow(/Send one of the API keys/);
});

it('accepts two keys of one client during a rotation, and drops the removed one', async () => {
  const old = makeApiKey({ name: 'shop' });
  const fresh = makeApiKey({ name: 'shop' });
  await save(old.entry, fresh.entry);
  const { id } = open().find(old.key);
  expect(keys?.find(fresh.key).id).toBe(id);
  await save(fresh.entry);
  await vi.waitFor(() => expect(() => keys?.find(old.key)).toThrow(/Send one/), { timeout: 20_000 });
  expect(keys?.find(fresh.key).id).toBe(id);
});

it('reports which key has expired, and since when', async () => {
  const { key, entry } = makeApiKey({ name: 'shop', expires: '2030-01-01T00:00:00Z' });
  await save(entry);
  let now = Date.parse('2029-12-31T23:59:59Z');
  open(() => now).find(key);
  now += 1_000;
  expect(() => keys?.find(key)).toThrow("The API key 'shop' expired at 2030-01-01T00:00:00.000Z");
});

it('keeps the previous keys when the file is invalid, and reports it', async () => {
  const { key, entry } = makeApiKey({ name: 'shop' });
  await save(entry);
  open();
  await writeFile(file, `{"keys": [${key}`);
  await expect.poll(() => keys?.problem).toMatch(/is no JSON\. The keys from before stay in force/);
  expect(keys?.problem).not.toContain(key);
  expect(keys?.find(key).name).toBe('shop');
});

it('keeps the previous keys while the file is inaccessible', async () => {
  const { key, entry } = makeApiKey({ name: 'shop' });
  await save(entry);
  open();
  await rm(folder, { recursive: true });
  await writeFile(folder, 'a file in the place of its folder');
  await expect.poll(() => keys?.problem).toMatch(/The keys from before stay in force/);
  expect(keys?.find(key).name).toBe('shop');
});

it('accepts a valid file after an invalid or missing one, even the same as before', async () => {
  const { key, entry } = makeApiKey({ name: 'shop', pipelines: ['a'] });
  const { key: taken, entry: revoked } = makeApiKey({ name: 'left', pipelines: ['b'] });
  await save(entry, revoked);
  open();
  for (const spoil of [() => writeFile(file, '{}'), () => rm(file)]) {
    await spoil();
    await expect.poll(() => keys?.problem, { timeout: 20_000 }).toBeDefined();
    await save(entry, revoked);
    await expect.poll(() => keys?.problem, { timeout: 20_000 }).toBeUndefined();
    expect(keys?.find(taken).name).toBe('left');
  }
  await save();
  await vi.waitFor(() => expect(() => keys?.find(key)).toThrow(/Send one/), { timeout: 20_000 });
  await save(entry);
  await vi.waitFor(() => expect(keys?.find(key).name).toBe('shop'), { timeout: 20_000 });
});

it('notices another key of the same size and time', async () => {
  const [old, fresh] = [makeApiKey({ name: 'shop' }), makeApiKey({ name: 'shop' })];
  await save(old.entry);
  const { atime, mtime } = await stat(file);
  await utimes(file, atime, mtime);
  open();
  await save(fresh.entry);
  await utimes(file, atime, mtime);
  await vi.waitFor(() => expect(keys?.find(fresh.key).name).toBe('shop'), { timeout: 20_000 });
  expect(() => keys?.find(old.key)).toThrow(/Send one/);
});

it.each([
  ['{"keys": [{"name": "UP", "sha256": "x"}]}', /keys\.0\.name: .*keys\.0\.sha256/],
  ['{"keys": [{"name": "a", "key": "secret", "sha256": "x"}]}', /Unrecognized key: "key"/],
  [JSON.stringify({ keys: [{ ...makeApiKey({ name: 'a' }).entry, pipelines: ['c'] }] }), /no pipeline 'c'/],
  [JSON.stringify({ keys: [{ ...makeApiKey({ name: 'a' }).entry, scopes: ['root'] }] }), /scopes/],
])('does not start with a file such as %s', async (text, problem) => {
  await writeFile(file, text);
  expect(open).toThrow(problem);
});

it('gives keys of API_KEYS all permissions', () => {
  keys = new ApiKeys({ keys: ['one', 'two'], pipelines: () => ['a'], logger: silentLogger });
  const { name, pipelines, scopes } = keys.find('two');
  expect({ name, pipelines, scopes: [...scopes] }).toEqual({
    name: 'API_KEYS-2',
    pipelines: undefined,
    scopes: ['score', 'read', 'models', 'jobs'],
  });
});

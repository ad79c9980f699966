import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeApiKey } from '../../ingest/api-keys/api-keys.js';
import { startSystem, type TestSystem } from '../system/start.js';

const shop = makeApiKey({ name: 'shop', pipelines: ['car-price'] });
const left = makeApiKey({ name: 'left', pipelines: ['credit-default'] });
const all = makeApiKey({ name: 'all' });

/**
 * A revoked key is valid for up to two seconds. The limit here is longer for a busy machine, which is
 * harmless: the bug was that the key worked for ever.
 */
const soon = { timeout: 20_000 };

let folder: string;
let file: string;
let system: TestSystem;

const save = (...keys: (typeof shop)[]): Promise<void> =>
  writeFile(file, JSON.stringify({ keys: keys.map(({ entry }) => entry) }));

async function statusFor({ key }: typeof shop): Promise<number> {
  const response = await fetch(`${system.endpoints.http}/v1/pipelines`, { headers: { 'x-api-key': key } });
  return response.status;
}

async function readiness(): Promise<[status: number, detail: string | undefined]> {
  const response = await system.get('/health/ready');
  const { parts } = (await response.json()) as { parts: Record<string, { detail?: string }> };
  return [response.status, parts['api keys']?.detail];
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-hostile-keys-'));
  file = join(folder, 'keys.json');
  await save(shop, left, all);
  system = await startSystem({ API_KEYS_FILE: file });
});

afterAll(async () => {
  await system.stop();
  await rm(folder, { recursive: true });
});

it('stops accepting a key that is removed from a file whose keys name pipelines, repeatedly', async () => {
  expect(await Promise.all([shop, left, all].map(statusFor))).toEqual([200, 200, 200]);
  await save(shop, all);
  await expect.poll(() => statusFor(left), soon).toBe(401);
  await save(shop);
  await expect.poll(() => statusFor(all), soon).toBe(401);
  expect(await statusFor(shop)).toBe(200);
  expect(await readiness()).toEqual([200, undefined]);
});

it('accepts the previous file after one without any keys', async () => {
  await save();
  await expect.poll(() => statusFor(shop), soon).toBe(401);
  await save(shop, all);
  await expect.poll(() => statusFor(shop), soon).toBe(200);
  expect(await statusFor(all)).toBe(200);
});

it.each([
  ['is broken', () => writeFile(file, '{"keys": [')],
  ['names an unknown pipeline', () => save(shop, makeApiKey({ name: 'x', pipelines: ['none'] }))],
  ['is away', () => rm(file)],
])(
  'is down while the file %s, since revocations do not apply, and up again with a valid one',
  async (_, spoil) => {
    await spoil();
    await expect
      .poll(readiness, soon)
      .toEqual([503, expect.stringContaining('The keys from before stay in force')]);
    await save(shop, all);
    await expect.poll(readiness, soon).toEqual([200, undefined]);
    expect(await statusFor(shop)).toBe(200);
  },
);

import { appendFile, mkdtemp, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../../../platform/logger.js';
import { StateStore } from './state-store.js';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-state-'));
  path = join(folder, 'state.log');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

test('what was put is there after a restart; kinds and removed keys stay apart', async () => {
  await using(async (store) => {
    await store.put([
      { key: ['topic', 'a'], value: { partitions: 3 } },
      { key: ['topics', 'b'], value: 1 },
    ]);
    await store.put([{ key: ['topic', 'gone'], value: 1 }]);
    await store.put([{ key: ['topic', 'gone'], value: undefined }]);
  });
  await using((store) => {
    expect([...store.entries('topic')]).toEqual([{ key: ['a'], value: { partitions: 3 } }]);
    return Promise.resolve();
  });
});

test('a change of several keys that was torn is not there at all', async () => {
  await using(async (store) => {
    await store.put([{ key: ['k', 'before'], value: 1 }]);
    await store.put([
      { key: ['k', 'one'], value: 'x'.repeat(100) },
      { key: ['k', 'two'], value: 2 },
    ]);
  });
  const { size } = await stat(path);
  await truncate(path, size - 1);
  await using(async (store) => {
    expect([...store.entries('k')].map(({ key }) => key[0])).toEqual(['before']);
    await store.put([{ key: ['k', 'after'], value: 3 }]);
  });
  await appendFile(path, 'garbage');
  await using((store) => {
    expect([...store.entries('k')].map(({ key }) => key[0])).toEqual(['before', 'after']);
    return Promise.resolve();
  });
});

test('the file does not grow with the number of changes', async () => {
  const value = 'x'.repeat(10_000);
  await using(async (store) => {
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          store.put([{ key: ['k', String(i % 3)], value: `${round}-${i}-${value}` }]),
        ),
      );
    }
  });
  expect((await stat(path)).size).toBeLessThan(8 * 1024 * 1024);
  await using((store) => {
    expect([...store.entries<string>('k')].map((entry) => entry.value.slice(0, 5)).toSorted()).toEqual([
      '19-97',
      '19-98',
      '19-99',
    ]);
    return Promise.resolve();
  });
});

async function using(work: (store: StateStore) => Promise<void>): Promise<void> {
  const store = await StateStore.open(path, silentLogger);
  try {
    await work(store);
  } finally {
    await store.close();
  }
}

import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../../platform/logger.js';
import { findDamaged } from './damage.js';
import { StateStore } from './state-store.js';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-state-'));
  path = join(folder, 'state.log');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

test('values are there after a restart; kinds and removed keys stay separate', async () => {
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

test('a torn change of several keys has no effect at all', async () => {
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

describe('a file that is damaged, not torn', () => {
  const entries = async (): Promise<string[]> => {
    const found: string[] = [];
    await using((store) => {
      found.push(...[...store.entries<string>('k')].map(({ key, value }) => `${key[0]}=${value}`));
      return Promise.resolve();
    });
    return found;
  };

  beforeEach(() =>
    using(async (store) => {
      for (let i = 0; i < 20; i++) await store.put([{ key: ['k', `k${i}`], value: `v${i}` }]);
    }),
  );

  const all = Array.from({ length: 20 }, (_, i) => `k${i}=v${i}`);
  test.each<[string, number, string[]]>([
    ['in a value', 12, all.slice(1)],
    ['in a length', 3, all],
    ['in the highest byte of a length', 0, all],
    ['in a checksum', 5, all.slice(1)],
  ])('%s, loses only that entry', async (_where, at, expected) => {
    const bytes = await readFile(path);
    bytes[at] = (bytes[at] ?? 0) ^ 0x15;
    await writeFile(path, bytes);
    expect(await entries()).toEqual(expected);
    expect(await findDamaged(folder)).toEqual(['state.log.damaged']);
    expect(await readFile(`${path}.damaged`)).toEqual(bytes);
    await using((store) => store.put([{ key: ['k', 'after'], value: 'x' }]));
    expect(await entries()).toEqual([...expected, 'after=x']);
    expect(await findDamaged(folder)).toHaveLength(1);
  });

  test('in many positions, loses only the damaged entries', async () => {
    const bytes = await readFile(path);
    bytes.fill(0, 40, 200);
    await writeFile(path, bytes);
    const left = await entries();
    expect(left[0]).toBe(all[0]);
    expect(left.at(-1)).toBe(all.at(-1));
    expect(left.length).toBeLessThan(20);
    expect(left.length).toBeGreaterThan(10);
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

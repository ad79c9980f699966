import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { logDamage, storageHealth } from './damage.js';
import { openEmbeddedAnalytics } from './testing/embedded-analytics.js';

test('reports a damaged part at the start and in readiness', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-damage-'));
  try {
    const before = await openEmbeddedAnalytics(dataDir);
    for (const query of [
      'CREATE DATABASE millrace',
      'CREATE TABLE millrace.kept (a Int8) ENGINE = MergeTree ORDER BY a',
      'INSERT INTO millrace.kept SELECT 1',
    ])
      await before.client.command({ query });
    const error = vi.fn<(part: object, text: string) => void>();
    const logger = Object.assign(Object.create(silentLogger), { error });
    await logDamage(before.client, logger);
    expect(error).not.toHaveBeenCalled();
    expect(await storageHealth(before.client)).toEqual({ status: 'up' });
    await before.close();

    const files = await readdir(dataDir, { recursive: true });
    const part = dirname(files.find((file) => file.endsWith('all_1_1_0/checksums.txt')) ?? '');
    for (const file of ['checksums.txt', 'columns.txt']) await rm(join(dataDir, part, file));
    const after = await openEmbeddedAnalytics(dataDir);
    await logDamage(after.client, logger);
    expect(await storageHealth(after.client)).toEqual({
      status: 'degraded',
      detail: expect.stringMatching(/all_1_1_0 of millrace\.kept is damaged/),
    });
    await after.close();
    expect(error).toHaveBeenCalledExactlyOnceWith(
      { table: 'kept', name: expect.stringContaining('all_1_1_0'), reason: expect.stringMatching(/^broken/) },
      expect.stringContaining('millrace doctor'),
    );
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

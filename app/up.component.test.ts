import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadConfig } from '../platform/config.js';
import { up } from './up.js';

const folder = await mkdtemp(join(tmpdir(), 'millrace-up-'));
afterAll(() => rm(folder, { recursive: true }));

it('writes nothing into a folder that is no project', async () => {
  const starting = up(loadConfig({ MILLRACE_PROJECT: folder }), { demo: false, onProgress: () => undefined });
  await expect(starting).rejects.toMatchObject({
    code: 'PROJECT_INVALID',
    message: expect.stringContaining('millrace init') as string,
  });
  expect(await readdir(folder)).toEqual([]);
});

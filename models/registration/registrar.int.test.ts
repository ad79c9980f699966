import { chmod, mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listening } from '../../tests/contract/listening-logger.js';
import type { ModelLifecycle } from '../lifecycle/lifecycle.js';
import { ModelRegistrar } from './registrar.js';

const dayMs = 24 * 3_600_000;

/** Without any right to files of others. */
const nobody = 65_534;

let root: string;
let staging: string;
let told: object[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-registrar-'));
  await chmod(root, 0o755);
  staging = join(root, '.incoming');
  told = [];
});
afterEach(async () => {
  await chmod(staging, 0o755);
  await rm(root, { recursive: true });
});

/** A folder of an upload that was last changed some time ago. */
async function stage(name: string, agoMs: number): Promise<void> {
  const then = new Date(Date.now() - agoMs);
  await mkdir(join(staging, name), { recursive: true });
  await utimes(join(staging, name), then, then);
}

function begin(): ModelRegistrar {
  const logger = listening((level, _, message) => void told.push({ level, message }));
  // It registers nothing.
  const lifecycle = {} as ModelLifecycle;
  return new ModelRegistrar({ lifecycle, root, roots: [root], sampleRows: () => [], logger });
}

it('removes what uploads of a day ago have left, and not those that may be under way', async () => {
  await stage('old', 2 * dayMs);
  await stage('young', dayMs / 2);
  begin();
  await expect.poll(() => readdir(staging)).toEqual(['young']);
  expect(told).toEqual([]);
});

it('goes on when what an upload has left can’t be removed, and says so', async () => {
  await stage('old', 2 * dayMs);
  await chmod(staging, 0o555);
  const message = expect.stringMatching(/^Left-over uploads of models in .+ stay there: EACCES/) as string;
  await asAnybody(async () => {
    begin();
    await expect.poll(() => told).toEqual([{ level: 'warn', message }]);
  });
  expect(await readdir(staging)).toEqual(['old']);
});

/** To root no folder is closed: meanwhile it is somebody else. */
async function asAnybody(act: () => Promise<void>): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(nobody);
  try {
    await act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

import { chmod, mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { listening } from '../../tests/contract/listening-logger.js';
import type { ModelLifecycle } from '../lifecycle/lifecycle.js';
import { ModelRegistrar } from './registrar.js';

const dayMs = 24 * 3_600_000;

/** Runs without permissions on files of other users. */
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

/** Creates an upload folder that was last changed some time ago. */
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

it('removes leftovers of uploads after a day, but no recent ones', async () => {
  await stage('old', 2 * dayMs);
  await stage('young', dayMs / 2);
  begin();
  await expect.poll(() => readdir(staging)).toEqual(['young']);
  expect(told).toEqual([]);
});

it('logs leftovers that it cannot remove, and continues', async () => {
  await stage('old', 2 * dayMs);
  await chmod(staging, 0o555);
  const message = expect.stringMatching(/^Cannot remove leftover model uploads in .+: EACCES/) as string;
  await asAnybody(async () => {
    begin();
    await expect.poll(() => told).toEqual([{ level: 'warn', message }]);
  });
  expect(await readdir(staging)).toEqual(['old']);
});

/** Changes the user id, since root can access every folder. */
async function asAnybody(act: () => Promise<void>): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(nobody);
  try {
    await act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

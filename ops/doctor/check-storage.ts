import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { listModels } from '../../models/registry.js';
import type { Config } from '../../platform/config.js';
import { isSystemError, messageOf } from '../../platform/errors.js';
import { modelRoots, registeredModels } from '../../processors/pipelines/open-pipelines.js';
import { gigabytes } from './check-clickhouse.js';
import { attempt, type Diagnosis, type Notes } from './diagnosis.js';

const minFreeShare = 0.1;
const minFreeBytes = 1e9;

/** Checks the folders of models and files, and the free space on their disks. */
export async function checkStorage(diagnosis: Diagnosis, config: Config): Promise<void> {
  const models = registeredModels(config);
  await checkFolder(diagnosis.notes('models'), 'MODELS_DIR', models);
  await checkModels(diagnosis.notes('models'), config);
  const folders = {
    DATA_DIR: config.DATA_DIR,
    MODELS_DIR: models,
    FILES_DIR: config.FILES_DIR ?? join(config.DATA_DIR, 'files'),
  };
  const seen = new Set<string>();
  for (const [setting, folder] of Object.entries(folders))
    await checkSpace(diagnosis.notes('disk'), setting, folder, seen);
}

async function checkFolder(notes: Notes, setting: string, folder: string): Promise<void> {
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    notes.ok(`${folder} is readable and writable`);
  } catch (error) {
    if (isSystemError(error, 'ENOENT'))
      notes.ok(`${folder} does not exist: no model is registered on this machine`);
    else
      notes.error(
        `${folder} is not readable and writable: ${messageOf(error)}`,
        `chown it to the user that runs Millrace, or set ${setting}.`,
      );
  }
}

async function checkModels(notes: Notes, config: Config): Promise<void> {
  for (const root of modelRoots(config)) {
    const isThere = await access(root).then(
      () => true,
      () => false,
    );
    if (!isThere) continue;
    const fix = 'Restore the folder of that version, or register the model again.';
    await attempt(notes, { what: `Cannot read the models in ${root}`, fix }, async () => {
      const versions = await listModels(root);
      notes.ok(`${root} has ${versions.length} model version${versions.length === 1 ? '' : 's'}`);
    });
  }
}

async function checkSpace(notes: Notes, setting: string, folder: string, seen: Set<string>): Promise<void> {
  let existing = folder;
  let space = await statfs(existing).catch(() => undefined);
  while (space === undefined && dirname(existing) !== existing) {
    existing = dirname(existing);
    space = await statfs(existing).catch(() => undefined);
  }
  if (space === undefined) return;
  const { bavail, blocks, bsize, type } = space;
  const disk = `${type}/${blocks}/${bavail}`;
  if (seen.has(disk)) return;
  seen.add(disk);
  const free = bavail * bsize;
  const summary = `The disk of ${folder} has ${gigabytes(free)} of ${gigabytes(blocks * bsize)} GB free`;
  if (free < minFreeBytes || bavail / blocks < minFreeShare)
    notes.warn(summary, `Free space, or set ${setting} to a folder on another disk.`);
  else notes.ok(summary);
}

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

/** Folders of models and files, and room on their disks. */
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
    await checkRoom(diagnosis.notes('disk'), setting, folder, seen);
}

async function checkFolder(notes: Notes, setting: string, folder: string): Promise<void> {
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    notes.ok(`${folder} can be read and written`);
  } catch (error) {
    if (isSystemError(error, 'ENOENT'))
      notes.ok(`${folder} is not there: no model was registered on this machine`);
    else
      notes.error(
        `${folder} can’t be read and written: ${messageOf(error)}`,
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
    const fix = 'Put back the folder of the version that it names, or register the model again.';
    await attempt(notes, { what: `The models in ${root} can’t be read`, fix }, async () => {
      const versions = await listModels(root);
      notes.ok(`${root} has ${versions.length} model version${versions.length === 1 ? '' : 's'}`);
    });
  }
}

async function checkRoom(notes: Notes, setting: string, folder: string, seen: Set<string>): Promise<void> {
  let existing = folder;
  let room = await statfs(existing).catch(() => undefined);
  while (room === undefined && dirname(existing) !== existing) {
    existing = dirname(existing);
    room = await statfs(existing).catch(() => undefined);
  }
  if (room === undefined) return;
  const { bavail, blocks, bsize, type } = room;
  const disk = `${type}/${blocks}/${bavail}`;
  if (seen.has(disk)) return;
  seen.add(disk);
  const free = bavail * bsize;
  const is = `The disk of ${folder} has ${gigabytes(free)} of ${gigabytes(blocks * bsize)} GB free`;
  if (free < minFreeBytes || bavail / blocks < minFreeShare)
    notes.warn(is, `Make room, or set ${setting} to a folder on another disk.`);
  else notes.ok(is);
}

import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';
import { makeFolder } from '../../platform/make-folder.js';
import { readModel, type ModelArtifact } from '../registry.js';

/** The files of a version folder. */
export const versionFiles = ['model.onnx', 'model.json', 'golden.json'] as const;

/** The registry ignores folders whose names begin with a dot. */
const staging = '.incoming';
const staleMs = 24 * 3_600_000;

/** Creates an empty folder on the same disk as the versions. @throws MillraceError `MODELS_DIR_UNUSABLE` */
export async function makeStagingFolder(root: string): Promise<string> {
  const folder = join(root, staging, randomUUID());
  try {
    await makeFolder(folder);
    return folder;
  } catch (error) {
    throw unusable(root, error);
  }
}

/** Removes leftovers of killed processes. @throws if that fails. */
export async function removeStaleStaging(root: string): Promise<void> {
  const entries = await readdir(join(root, staging)).catch(() => []);
  for (const entry of entries) {
    const folder = join(root, staging, entry);
    const changed = (await stat(folder).catch(() => undefined))?.mtimeMs ?? Date.now();
    if (Date.now() - changed > staleMs) await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Moves a staged version to `<root>/<name>/<version>/`, atomically and durably. Keeps an existing folder with
 * the same content.
 *
 * @throws MillraceError `MODEL_CONFLICT` if the folder exists with other content, `MODELS_DIR_UNUSABLE`.
 */
export async function installVersion(root: string, staged: ModelArtifact): Promise<void> {
  const { name, version } = staged.manifest;
  const target = join(root, name, version);
  try {
    for (const file of versionFiles) await sync(join(staged.folder, file));
    await sync(staged.folder);
    await makeFolder(dirname(target));
    if (await tryRename(staged.folder, target)) {
      await sync(dirname(target));
      await sync(root);
      return;
    }
  } catch (error) {
    throw unusable(root, error);
  }
  if (!(await hasContent(target, staged))) {
    throw new MillraceError(
      'MODEL_CONFLICT',
      `The folder of ${name} ${version} already exists with other content, which may be being registered. Use another version, or remove ${target} if it is not.`,
    );
  }
}

/** Returns whether two version folders are readable and have the same graph, model.json and golden rows. */
export async function hasContent(folder: string, { manifest, golden }: ModelArtifact): Promise<boolean> {
  const there = await readModel(folder).catch(() => undefined);
  return (
    there !== undefined &&
    isDeepStrictEqual(there.manifest, manifest) &&
    isDeepStrictEqual(there.golden, golden)
  );
}

async function tryRename(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) return false;
    throw error;
  }
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function unusable(root: string, cause: unknown): MillraceError {
  return new MillraceError(
    'MODELS_DIR_UNUSABLE',
    `Cannot write to the folder of model versions ${root}: ${messageOf(cause)}. Make it writable, or set MODELS_DIR to another folder.`,
    { cause },
  );
}

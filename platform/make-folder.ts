import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from './errors.js';

/**
 * Creates a folder named by a setting, and those above it. Node's own `recursive` never ends if a file system
 * reports an existing parent folder as missing, as `/proc` does.
 *
 * @throws the error of Node's `mkdir`; nothing when the folder exists.
 */
export async function makeFolder(folder: string): Promise<void> {
  if ((await tryMake(folder)) || dirname(folder) === folder) return;
  await makeFolder(dirname(folder));
  // Still missing although the parent folder exists: it can't be created.
  if (!(await tryMake(folder))) await mkdir(folder);
}

/** @returns whether the folder exists. */
async function tryMake(folder: string): Promise<boolean> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
  return true;
}

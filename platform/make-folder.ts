import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from './errors.js';

/**
 * Makes a folder that a setting names, and those above it. Node's own `recursive` never ends where a file system says
 * that there is no such folder above although there is, as `/proc` does.
 *
 * @throws what stands in the way, as `mkdir` of Node does; nothing when the folder is there.
 */
export async function makeFolder(folder: string): Promise<void> {
  if ((await tryMake(folder)) || dirname(folder) === folder) return;
  await makeFolder(dirname(folder));
  // What is missing still, now that the folder above is there, is not for us to make.
  if (!(await tryMake(folder))) await mkdir(folder);
}

/** @returns whether the folder is there. */
async function tryMake(folder: string): Promise<boolean> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
  return true;
}

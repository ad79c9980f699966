import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder that a setting names, and those above it. Node's own `recursive` never ends where a file system says
 * that there is no such folder above although there is, as `/proc` does.
 *
 * @throws what stands in the way, as `mkdir` of Node does; nothing when the folder is there.
 */
export async function makeFolder(folder: string): Promise<void> {
  const code = await tryMake(folder);
  if (code !== 'ENOENT' || dirname(folder) === folder) return;
  await makeFolder(dirname(folder));
  // What is missing still, now that the folder above is there, is not for us to make.
  if ((await tryMake(folder)) === 'ENOENT') await mkdir(folder);
}

async function tryMake(folder: string): Promise<'ENOENT' | undefined> {
  try {
    await mkdir(folder);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT') return 'ENOENT';
    if (code !== 'EEXIST') throw error;
  }
  return undefined;
}

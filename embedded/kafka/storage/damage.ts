import { constants } from 'node:fs';
import { copyFile, readdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../../../platform/errors.js';
import type { Logger } from '../../../platform/logger.js';
import { syncFolder } from './files.js';

/** Suffix of the copy of a damaged file, or of an empty file in place of a missing one. */
const damagedSuffix = '.damaged';

/** Damage found by a start or a reader that no crash can cause: durable data is missing. */
export interface Damage {
  /** The damaged or missing file. */
  path: string;
  what: string;
}

/**
 * Keeps a copy of a damaged file beside it, before anything is changed, and logs it. As long as the copy
 * exists, {@link findDamaged} names it.
 */
export async function keepDamaged({ path, what }: Damage, logger: Logger): Promise<void> {
  for (let copies = 1; ; copies++) {
    const kept = copies === 1 ? `${path}${damagedSuffix}` : `${path}.${copies}${damagedSuffix}`;
    try {
      await copyOrMark(path, kept);
    } catch (error) {
      if (isSystemError(error, 'EEXIST')) continue;
      throw error;
    }
    await syncFolder(dirname(path));
    logger.error(
      { path, kept },
      `The log is damaged: ${what}. What is intact is served; see docs/operations.md`,
    );
    return;
  }
}

async function copyOrMark(path: string, kept: string): Promise<void> {
  try {
    await copyFile(path, kept, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
    await writeFile(kept, '', { flag: 'wx' });
  }
}

/** Returns the copies of damaged files in a broker's data folder that are not removed yet, relative to it. */
export async function findDamaged(dataDir: string): Promise<string[]> {
  try {
    const names = await readdir(dataDir, { recursive: true });
    return names.filter((name) => name.endsWith(damagedSuffix)).toSorted();
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

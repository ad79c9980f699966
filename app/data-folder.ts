import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError, MillraceError, messageOf } from '../platform/errors.js';
import { makeFolder } from '../platform/make-folder.js';

/** A data folder that no other process uses until it is released. */
export interface DataFolder {
  release(): Promise<void>;
}

/**
 * Makes the folder if it is missing and takes it for this process, by a file `lock` that names the process. The lock
 * of a process that is gone, however it ended, counts for nothing.
 *
 * @throws MillraceError `DATA_DIR_IN_USE` with the other process's id, or `DATA_DIR_UNUSABLE` when it can't be written.
 */
export async function openDataFolder(folder: string): Promise<DataFolder> {
  const lock = join(folder, 'lock');
  const mine = `${lock}.${randomUUID()}`;
  try {
    await makeFolder(folder);
    await writeFile(mine, await identify(process.pid));
    while (!(await tryLink(mine, lock))) await removeStale(lock, folder);
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    throw new MillraceError(
      'DATA_DIR_UNUSABLE',
      `The data folder ${folder} can't be written: ${messageOf(error)}. Make it writable, or set DATA_DIR to another folder.`,
      { cause: error },
    );
  } finally {
    await rm(mine, { force: true }).catch(() => undefined);
  }
  return { release: () => rm(lock, { force: true }) };
}

/** Linking is atomic: of several processes one succeeds, and the file is never seen without its content. */
async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false;
    throw error;
  }
}

async function removeStale(lock: string, folder: string): Promise<void> {
  const owner = await readOr(lock, undefined);
  if (owner === undefined) return;
  const pid = Number(owner.split(' ')[0]);
  if (pid !== process.pid && isAlive(pid) && (await identify(pid)) === owner) {
    throw new MillraceError(
      'DATA_DIR_IN_USE',
      `Millrace runs on the data folder ${folder} already, as process ${pid}. Stop that one, or set DATA_DIR to another folder.`,
    );
  }
  // Moved aside first: another process may have done the same and locked the folder since the content was read.
  const aside = `${lock}.${randomUUID()}`;
  try {
    await rename(lock, aside);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return;
    throw error;
  }
  if ((await readOr(aside, undefined)) !== owner) await tryLink(aside, lock);
  await rm(aside, { force: true });
}

/** A process's id and, where the system tells (Linux), when it started: ids are used again. */
async function identify(pid: number): Promise<string> {
  const stat = await readOr(`/proc/${pid}/stat`, '');
  // proc(5): field 22, counted after the name in brackets, which may hold spaces.
  const startedAt = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  return startedAt === undefined ? String(pid) : `${pid} ${startedAt}`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isSystemError(error, 'EPERM');
  }
}

async function readOr<Default>(file: string, otherwise: Default): Promise<string | Default> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return otherwise;
    throw error;
  }
}

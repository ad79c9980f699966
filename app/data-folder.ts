import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError, MillraceError, messageOf } from '../platform/errors.js';
import { makeFolder } from '../platform/make-folder.js';

/** A data folder locked by this process until it is released. */
export interface DataFolder {
  release(): Promise<void>;
}

/**
 * Creates the folder if it is missing, and locks it with a file `lock` that names this process. Ignores the
 * lock of a process that has ended.
 *
 * @throws MillraceError `DATA_DIR_IN_USE` with the other process's id, or `DATA_DIR_UNUSABLE` if it is not
 *   writable.
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
      `Cannot write to the data folder ${folder}: ${messageOf(error)}. Make it writable, or set DATA_DIR to another folder.`,
      { cause: error },
    );
  } finally {
    await rm(mine, { force: true }).catch(() => undefined);
  }
  return { release: () => rm(lock, { force: true }) };
}

/** Linking is atomic: only one process succeeds, and the file always has its content. */
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
      `The data folder ${folder} is in use by process ${pid}. Stop that process, or set DATA_DIR to another folder.`,
    );
  }
  // Renamed first: another process may have removed the stale lock and locked the folder since the content
  // was read.
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

/** Process id and, on Linux, start time: ids are reused. */
async function identify(pid: number): Promise<string> {
  const stat = await readOr(`/proc/${pid}/stat`, '');
  // Field 22 of /proc/pid/stat (proc(5)), counted after the name in parentheses, which may contain spaces.
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

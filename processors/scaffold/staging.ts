import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';

/** Content of files by their path. */
export type Files = ReadonlyMap<string, string | Uint8Array>;

/**
 * Writes files to a folder of a project's own, has them checked, and moves them into the project: all or
 * nothing.
 *
 * @param targets - files and folders to move. None of them may exist in the project.
 * @param check - gets the folder with the files.
 * @throws MillraceError `PROJECT_INVALID` or `FILES_EXIST`, and what `check` throws.
 */
export async function writeChecked(
  project: string,
  files: Files,
  targets: readonly string[],
  check: (folder: string) => Promise<void>,
): Promise<void> {
  const staging = await makeStaging(project);
  try {
    for (const [path, content] of files) {
      await mkdir(dirname(join(staging, path)), { recursive: true });
      await writeFile(join(staging, path), content);
    }
    await check(staging);
    await moveAll(staging, project, targets);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function makeStaging(project: string): Promise<string> {
  try {
    return await mkdtemp(join(project, '.millrace-new-'));
  } catch (error) {
    throw new MillraceError(
      'PROJECT_INVALID',
      `Cannot write to the project ${project}: ${messageOf(error)}.`,
      {
        cause: error,
      },
    );
  }
}

/** Moves files and folders, or removes again what was moved. */
async function moveAll(from: string, to: string, targets: readonly string[]): Promise<void> {
  const moved: string[] = [];
  try {
    for (const target of targets) {
      await mkdir(dirname(join(to, target)), { recursive: true });
      if (existsSync(join(to, target))) throw new Error(`${join(to, target)} exists`);
      await rename(join(from, target), join(to, target));
      moved.push(target);
    }
  } catch (error) {
    for (const target of moved) await rm(join(to, target), { recursive: true, force: true });
    const code = isSystemError(error) ? 'PROJECT_INVALID' : 'FILES_EXIST';
    throw new MillraceError(
      code,
      `Cannot write ${targets.join(', ')}: ${messageOf(error)}. Nothing was written.`,
      {
        cause: error,
      },
    );
  }
}

/** Content as JSON for a file. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

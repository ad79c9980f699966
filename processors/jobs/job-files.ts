import { createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** The files of all jobs: a folder each, named by the job's id, never by anything that a client sent. */
export class JobFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** The file as it was uploaded. */
  input(jobId: string): string {
    return join(this.#root, jobId, 'input');
  }

  /** The file with the predictions added. Whole, if it is there. */
  result(jobId: string): string {
    return join(this.#root, jobId, 'result');
  }

  /**
   * Writes a stream to a new file, which {@link keep} makes a job's input. When the stream fails nothing is left behind.
   *
   * @param id - of the upload, unique.
   */
  async receive(id: string, stream: Readable): Promise<string> {
    const folder = join(this.#root, `upload-${id}`);
    const file = join(folder, 'input');
    await mkdir(folder, { recursive: true });
    try {
      await pipeline(stream, createWriteStream(file));
      return file;
    } catch (error) {
      await this.discard(id);
      throw error;
    }
  }

  discard(id: string): Promise<void> {
    return rm(join(this.#root, `upload-${id}`), { recursive: true, force: true });
  }

  /** Makes what was received under `id` the input of a job, on disk when this resolves. A job that has one keeps it. */
  async keep(id: string, jobId: string): Promise<void> {
    const folder = join(this.#root, `upload-${id}`);
    await sync(join(folder, 'input'));
    await sync(folder);
    try {
      await rename(folder, join(this.#root, jobId));
    } catch (error) {
      if (!isCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
      await this.discard(id);
    }
    await sync(this.#root);
  }

  /** Writes the result of a job: it is there when it is whole and on disk, else not at all. */
  async writeResult(jobId: string, runner: string, write: (path: string) => Promise<void>): Promise<void> {
    const part = join(this.#root, jobId, `result-${runner}`);
    try {
      await write(part);
      await sync(part);
      await rename(part, this.result(jobId));
      await sync(join(this.#root, jobId));
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
  }

  /** Removes the folders that were last changed so long ago and that `isNeeded` does not hold. */
  async sweep(olderThanMs: number, isNeeded: (jobId: string) => boolean): Promise<void> {
    const names = await readdir(this.#root).catch((error: unknown) => {
      if (isCode(error, 'ENOENT')) return [];
      throw error;
    });
    for (const name of names) {
      if (isNeeded(name)) continue;
      const folder = join(this.#root, name);
      const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
      if (Date.now() - mtimeMs > olderThanMs) await rm(folder, { recursive: true, force: true });
    }
  }
}

function isCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

async function sync(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

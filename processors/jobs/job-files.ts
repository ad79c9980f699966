import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isSystemError } from '../../platform/errors.js';

const uploadPrefix = 'upload-';

/** The files of all jobs: a folder each, named by the job's id, never by a client's input. */
export class JobFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** The uploaded file. */
  input(jobId: string): string {
    return join(this.#root, jobId, 'input');
  }

  /** The file with the predictions added. If it exists, it is complete. */
  result(jobId: string): string {
    return join(this.#root, jobId, 'result');
  }

  /**
   * Writes a stream to a new file, which {@link keep} makes a job's input. When the stream fails nothing is
   * left behind.
   *
   * @param id - of the upload, unique.
   */
  async receive(id: string, stream: Readable): Promise<string> {
    const folder = join(this.#root, uploadPrefix + id);
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
    return rm(join(this.#root, uploadPrefix + id), { recursive: true, force: true });
  }

  /**
   * Makes the file received under `id` the input of a job, on disk when this resolves.
   *
   * @returns whether it did: a job keeps an existing input.
   */
  async keep(id: string, jobId: string): Promise<boolean> {
    const folder = join(this.#root, uploadPrefix + id);
    await sync(join(folder, 'input'));
    await sync(folder);
    let isKept = true;
    try {
      await rename(folder, join(this.#root, jobId));
    } catch (error) {
      if (!isSystemError(error, 'ENOTEMPTY', 'EEXIST')) throw error;
      isKept = false;
      await this.discard(id);
    }
    await sync(this.#root);
    return isKept;
  }

  /** Returns the SHA-256 of a job's input in lower-case hex. @throws errors of the file system. */
  async digest(jobId: string): Promise<string> {
    const hash = createHash('sha256');
    await pipeline(createReadStream(this.input(jobId)), hash);
    return hash.digest('hex');
  }

  /** Removes all files of a job. */
  remove(jobId: string): Promise<void> {
    return rm(join(this.#root, jobId), { recursive: true, force: true });
  }

  /** Writes the result of a job. It exists once it is complete and on disk, else not at all. */
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

  /**
   * Removes the folders that were not changed for some time.
   *
   * @param keptMs - how long to keep a folder: that of this job, or with `undefined` that of an upload
   *   without a job.
   */
  async sweep(keptMs: (jobId: string | undefined) => number): Promise<void> {
    const names = await readdir(this.#root).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return [];
      throw error;
    });
    for (const name of names) {
      const folder = join(this.#root, name);
      const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
      if (Date.now() - mtimeMs > keptMs(name.startsWith(uploadPrefix) ? undefined : name))
        await rm(folder, { recursive: true, force: true });
    }
  }
}

async function sync(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

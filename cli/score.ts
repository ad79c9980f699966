import { createWriteStream, openAsBlob } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { SingleBar } from 'cli-progress';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { ApiClient } from './api-client.js';

export interface ScoreOptions {
  /** Default: the only pipeline. */
  pipeline?: string;
  /** Result file. Default: `<name>-scored.<format>` in the current folder. */
  out?: string;
}

interface JobAnswer {
  job_id: string;
  state: string;
  format: string;
  rows: { total: number | null; published: number; scored: number; failed: number };
  error: { code: string; detail: string } | null;
}

const pollMs = 200;
/** Tolerated outage of the API: the job continues or is resumed. */
const timeoutMs = 60_000;

/**
 * Uploads a file for scoring, shows progress, and downloads the result.
 *
 * @throws MillraceError if the file is rejected, the job fails, or the API is unreachable.
 */
export async function score(api: ApiClient, file: string, options: ScoreOptions): Promise<void> {
  const name = options.pipeline ?? (await onlyPipeline(api));
  const form = new FormData();
  form.set('file', await openFile(file), basename(file));
  const path = `/v1/pipelines/${encodeURIComponent(name)}/files`;
  const accepted = await api.json<JobAnswer>(path, { method: 'POST', body: form });
  console.error(`Job ${accepted.job_id}`);
  const job = await whenFinished(api, accepted);
  if (job.error !== null) throw new MillraceError('JOB_FAILED', `The job failed: ${job.error.detail}`);
  const out = options.out ?? `${basename(file, extname(file))}-scored.${job.format}`;
  await download(api, job, out);
  console.error(summary(job));
  console.log(out);
}

async function onlyPipeline(api: ApiClient): Promise<string> {
  const { pipelines } = await api.json<{ pipelines: { name: string }[] }>('/v1/pipelines');
  const [only, ...more] = pipelines;
  if (only !== undefined && more.length === 0) return only.name;
  const names = pipelines.map(({ name }) => name).join(', ');
  throw new MillraceError(
    'PIPELINE_UNKNOWN',
    `There are several pipelines. Pass --pipeline with one of ${names}.`,
  );
}

async function openFile(file: string): Promise<Blob> {
  try {
    if (!(await stat(file)).isFile()) throw new Error('not a file');
    return await openAsBlob(file);
  } catch (error) {
    throw new MillraceError('FILE_UNREADABLE', `Cannot read ${file}: ${messageOf(error)}.`, { cause: error });
  }
}

async function whenFinished(api: ApiClient, accepted: JobAnswer): Promise<JobAnswer> {
  const progress = process.stderr.isTTY ? new ProgressBar() : new ProgressLines();
  let job = accepted;
  let answeredAt = performance.now();
  try {
    for (;;) {
      progress.show(job);
      if (job.state === 'done' || job.state === 'failed') return job;
      await sleep(pollMs);
      try {
        job = await api.json<JobAnswer>(`/v1/jobs/${job.job_id}`);
        answeredAt = performance.now();
      } catch (error) {
        const mayPass = error instanceof MillraceError && error.retriable;
        if (!mayPass || performance.now() - answeredAt > timeoutMs) throw error;
      }
    }
  } finally {
    progress.stop();
  }
}

/** Progress on a terminal. */
class ProgressBar {
  readonly #bar = new SingleBar({
    format: '{state} [{bar}] {value}/{total} rows',
    hideCursor: true,
    stream: process.stderr,
  });

  constructor() {
    this.#bar.start(1, 0, { state: 'accepted' });
  }

  show({ state, rows }: JobAnswer): void {
    this.#bar.setTotal(Math.max(1, rows.total ?? 0));
    this.#bar.update(rows.scored + rows.failed, { state: state.padEnd(10) });
  }

  stop(): void {
    this.#bar.stop();
  }
}

/** Progress in a log: one line for each change. */
class ProgressLines {
  #last = '';

  show({ state, rows }: JobAnswer): void {
    const line = `${state}: ${rows.published} of ${rows.total ?? '?'} rows on the log, ${rows.scored} scored, ${rows.failed} failed`;
    if (line !== this.#last) console.error(line);
    this.#last = line;
  }

  stop(): void {}
}

/** Downloads to a `.part` file and renames it when complete. */
async function download(api: ApiClient, job: JobAnswer, out: string): Promise<void> {
  const { body } = await api.request(`/v1/jobs/${job.job_id}/result`);
  const part = `${out}.part`;
  try {
    await pipeline(Readable.fromWeb(body ?? new Blob([]).stream()), createWriteStream(part));
    await rename(part, out);
  } catch (error) {
    await rm(part, { force: true });
    throw new MillraceError(
      'RESULT_NOT_SAVED',
      `Could not save ${out}: ${messageOf(error)}. The job is done. Download its result from GET /v1/jobs/${job.job_id}/result.`,
      { cause: error },
    );
  }
}

function summary({ rows }: JobAnswer): string {
  const failed = rows.failed === 0 ? '' : ` ${rows.failed} rows failed: see the column error.`;
  return `${rows.scored} rows scored.${failed}`;
}

import type { Context } from 'hono';
import type { ClickHouseClient } from '@clickhouse/client';
import { MillraceError } from '../platform/errors.js';
import { idempotentJobId, newEventId } from '../processors/events/ids.js';
import type { JobFiles } from '../processors/jobs/job-files.js';
import type { JobLog } from '../processors/jobs/job-log.js';
import type { JobRunner } from '../processors/jobs/job-runner.js';
import { type Job, newRowIds } from '../processors/jobs/job.js';
import { clientOf } from './authentication.js';
import { mayUse } from './authorization.js';
import { detectFormat } from '../processors/jobs/formats/detect-format.js';
import { checkColumns } from '../processors/jobs/row-event.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import { receiveUpload } from './receive-upload.js';

/** Of jobs of `/upload`: AIMQ's name for the prices. */
export const aimqScoreColumn = 'predicted_price';

export interface FileJobs {
  log: JobLog;
  files: JobFiles;
  runner: JobRunner;
  client: ClickHouseClient;
  /** Largest file, bytes. */
  maxFileBytes: number;
}

/**
 * Takes the file of a request and makes a job of it. When this resolves, file and job are on disk and on the log.
 *
 * @param idempotencyKey - a job that was made with the same key and of the same file is answered instead, as it stands.
 * @param scoreColumn - name of the result's column of scores.
 * @throws MillraceError as {@link receiveUpload}; `FILE_INVALID` for a file whose start shows that it can't be scored;
 *   `IDEMPOTENCY_KEY_REUSED` for a key that came with another file; retriable when the log can't be reached: the file is
 *   removed then, at once or, where the job may still get to the log, after an hour.
 */
export async function acceptFile(
  c: Context,
  { log, files, runner, maxFileBytes }: FileJobs,
  pipeline: OpenPipeline,
  {
    idempotencyKey,
    timeoutMs,
    scoreColumn = 'prediction',
  }: { idempotencyKey: string | undefined; timeoutMs: number; scoreColumn?: string },
): Promise<Job> {
  const upload = await receiveUpload(c, files, { maxBytes: maxFileBytes, patienceMs: timeoutMs });
  try {
    const jobId =
      idempotencyKey === undefined ? newEventId() : idempotentJobId(pipeline.name, idempotencyKey);
    const earlier = async (): Promise<Job | undefined> => {
      const known = idempotencyKey === undefined ? undefined : await log.find(jobId);
      if (known !== undefined && known.digest !== null && known.digest !== upload.digest) throw keyReused();
      return known;
    };
    const known = await earlier();
    if (known !== undefined) {
      await files.discard(upload.id);
      return known;
    }
    const format = await detectFormat(upload.path, upload.name);
    checkColumns(await format.open(upload.path), pipeline.event.schema);
    const now = Date.now();
    const job: Job = {
      job_id: jobId,
      pipeline: pipeline.name,
      state: 'accepted',
      created_at: now,
      at: now,
      finished_at: null,
      runner: null,
      file_name: upload.name,
      format: format.name,
      bytes: upload.bytes,
      rows_total: null,
      rows_read: 0,
      rows_invalid: 0,
      rows_scored: 0,
      rows_failed: 0,
      error_code: null,
      error: null,
      owner: clientOf(c)?.name || null,
      digest: upload.digest,
      row_ids: newRowIds(),
      score_column: scoreColumn,
    };
    const isKept = await files.keep(upload.id, jobId);
    if (!isKept) {
      // Another request with the same key came first. Its job may not be on the log yet, and never get there.
      if ((await files.digest(jobId)) !== upload.digest) throw keyReused();
      const made = await earlier();
      if (made !== undefined) return made;
    }
    try {
      await log.accept(job, timeoutMs);
    } catch (error) {
      // What may pass may also have got to the log: then the sweep finds out whose the file is.
      if (isKept && !(error instanceof MillraceError && error.retriable)) await files.remove(jobId);
      throw error;
    }
    runner.take(jobId);
    return log.get(jobId) ?? job;
  } catch (error) {
    await files.discard(upload.id);
    throw error;
  }
}

/** What clients are told of a job. */
export function describeJob(job: Job): object {
  return {
    job_id: job.job_id,
    pipeline: job.pipeline,
    state: job.state,
    file_name: job.file_name,
    format: job.format,
    bytes: job.bytes,
    rows: {
      total: job.rows_total,
      published: job.rows_read - job.rows_invalid,
      scored: job.rows_scored,
      failed: job.rows_failed,
    },
    created_at: new Date(job.created_at).toISOString(),
    updated_at: new Date(job.at).toISOString(),
    finished_at: job.finished_at === null ? null : new Date(job.finished_at).toISOString(),
    error: job.error === null ? null : { code: job.error_code, detail: job.error },
    links: {
      self: `/v1/jobs/${job.job_id}`,
      events: `/v1/jobs/${job.job_id}/events`,
      result: `/v1/jobs/${job.job_id}/result`,
    },
  };
}

/** Whether the client of a request may know of a job: it is its own, or the client may see those of all. */
export function maySee(c: Context, { owner, pipeline }: Job): boolean {
  const client = clientOf(c);
  if (client === undefined || !mayUse(c, pipeline)) return false;
  return client.scopes.has('jobs') || owner === client.name;
}

/** @throws MillraceError `JOB_UNKNOWN`, also for a job of another client; retriable when the log can't be reached. */
export async function findJob(c: Context, { log }: FileJobs, jobId: string): Promise<Job> {
  const job = await log.find(jobId);
  if (job !== undefined && maySee(c, job)) return job;
  throw new MillraceError('JOB_UNKNOWN', `There is no job '${jobId}'.`);
}

function keyReused(): MillraceError {
  return new MillraceError(
    'IDEMPOTENCY_KEY_REUSED',
    'The Idempotency-Key was given to another file before. Send the same file, or a new key.',
  );
}

/** The files of a finished job are there no more. */
export function resultGone(job: Job): MillraceError {
  return new MillraceError(
    'RESULT_GONE',
    `The result of the job '${job.job_id}' was removed after FILES_RETENTION_DAYS.`,
  );
}

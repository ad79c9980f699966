import type { Context } from 'hono';
import type { ClickHouseClient } from '@clickhouse/client';
import { MillraceError } from '../../platform/errors.js';
import { acceptFile, type AcceptFileOptions } from '../../processors/jobs/accept-file.js';
import type { JobFiles } from '../../processors/jobs/job-files.js';
import type { JobLog } from '../../processors/jobs/job-log.js';
import type { JobRunner } from '../../processors/jobs/job-runner.js';
import type { Job } from '../../processors/jobs/job.js';
import type { FileParser } from '../../processors/jobs/parser/file-parser.js';
import { clientOf } from '../middleware/authentication.js';
import { mayUse } from '../middleware/authorization.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { receiveUpload } from '../files/receive-file.js';
import type { JobAnswer } from './schemas.js';

/** Of jobs of `/upload`: AIMQ's name for the prices. */
export const aimqScoreColumn = 'predicted_price';

export interface FileJobs {
  log: JobLog;
  files: JobFiles;
  parser: FileParser;
  runner: JobRunner;
  client: ClickHouseClient;
  /** Maximum file size, bytes. */
  maxFileBytes: number;
}

/**
 * Receives the file of a request and makes a job of it, see {@link acceptFile}.
 *
 * @throws MillraceError as {@link receiveUpload} and {@link acceptFile}.
 */
export async function acceptUpload(
  c: Context,
  jobs: FileJobs,
  pipeline: OpenPipeline,
  options: Omit<AcceptFileOptions, 'owner'>,
): Promise<Job> {
  const limits = { maxBytes: jobs.maxFileBytes, timeoutMs: options.timeoutMs };
  const received = await receiveUpload(c, jobs.files, limits);
  return acceptFile(jobs, pipeline, received, { ...options, owner: clientOf(c)?.name || null });
}

/** A job as clients see it. */
export function describeJob(job: Job): JobAnswer {
  return {
    job_id: job.job_id,
    pipeline: job.pipeline,
    state: job.state as JobAnswer['state'],
    file_name: job.file_name,
    format: job.format as JobAnswer['format'],
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

/** Whether the client of a request may see a job: its own, or with the permission for all. */
export function maySee(c: Context, { owner, pipeline }: Job): boolean {
  const client = clientOf(c);
  if (client === undefined || !mayUse(c, pipeline)) return false;
  return client.scopes.has('jobs') || owner === client.name;
}

/**
 * @throws MillraceError `JOB_UNKNOWN`, also for a job of another client; retriable when the log is
 *   unavailable.
 */
export async function findJob(c: Context, { log }: FileJobs, jobId: string): Promise<Job> {
  const job = await log.find(jobId);
  if (job !== undefined && maySee(c, job)) return job;
  throw new MillraceError('JOB_UNKNOWN', `There is no job '${jobId}'.`);
}

/** The error for a finished job without files. */
export function resultGone(job: Job): MillraceError {
  return new MillraceError(
    'RESULT_GONE',
    `The result of the job '${job.job_id}' was removed after FILES_RETENTION_DAYS.`,
  );
}

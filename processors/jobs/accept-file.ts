import { MillraceError } from '../../platform/errors.js';
import { idempotentJobId, newEventId } from '../events/ids.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import type { JobFiles } from './job-files.js';
import type { JobLog } from './job-log.js';
import type { JobRunner } from './job-runner.js';
import { type Job, newRowIds } from './job.js';
import type { FileParser } from './parser/file-parser.js';
import { checkColumns } from './row-columns.js';

/** A file that {@link JobFiles.receive} has written to disk, before it belongs to a job. */
export interface ReceivedFile {
  /** Id under which it was received. */
  id: string;
  path: string;
  /** The client's name for it, without folders. */
  name: string;
  bytes: number;
  /** SHA-256 in lower-case hex. */
  digest: string;
}

export interface AcceptFileOptions {
  /** If a job with the same key and file exists, its present state is returned instead. */
  idempotencyKey: string | undefined;
  /** Name of the client that may see the job; `null`: every client may. */
  owner: string | null;
  /** Time limit for the log, milliseconds. */
  timeoutMs: number;
  /** Name of the result's column of scores. Default `prediction`. */
  scoreColumn?: string;
}

/**
 * Makes a job of a received file. When this resolves, file and job are on disk and on the log. When it fails,
 * the file is removed: at once or, if the job may still be written to the log, after an hour.
 *
 * @throws MillraceError `FILE_INVALID` for a file whose start shows that it can't be scored;
 *   `IDEMPOTENCY_KEY_REUSED` for a key that came with another file; retriable when the log is unavailable.
 */
export async function acceptFile(
  { log, files, parser, runner }: { log: JobLog; files: JobFiles; parser: FileParser; runner: JobRunner },
  pipeline: OpenPipeline,
  received: ReceivedFile,
  { idempotencyKey, owner, timeoutMs, scoreColumn = 'prediction' }: AcceptFileOptions,
): Promise<Job> {
  try {
    const jobId =
      idempotencyKey === undefined ? newEventId() : idempotentJobId(pipeline.name, idempotencyKey);
    const earlier = async (): Promise<Job | undefined> => {
      const known = idempotencyKey === undefined ? undefined : await log.find(jobId);
      if (known !== undefined && known.digest !== null && known.digest !== received.digest) throw keyReused();
      return known;
    };
    const known = await earlier();
    if (known !== undefined) {
      await files.discard(received.id);
      return known;
    }
    const format = await parser.read(received.path, { name: received.name }, (file) => {
      checkColumns(file, pipeline.event.schema);
      return file.format.name;
    });
    const now = Date.now();
    const job: Job = {
      job_id: jobId,
      pipeline: pipeline.name,
      state: 'accepted',
      created_at: now,
      at: now,
      finished_at: null,
      runner: null,
      file_name: received.name,
      format,
      bytes: received.bytes,
      rows_total: null,
      rows_read: 0,
      rows_invalid: 0,
      rows_scored: 0,
      rows_failed: 0,
      error_code: null,
      error: null,
      owner,
      digest: received.digest,
      row_ids: newRowIds(),
      score_column: scoreColumn,
    };
    const isKept = await files.keep(received.id, jobId);
    if (!isKept) {
      // Another request with the same key came first. Its job may not be on the log yet, and may never be.
      if ((await files.digest(jobId)) !== received.digest) throw keyReused();
      const made = await earlier();
      if (made !== undefined) return made;
    }
    try {
      await log.accept(job, timeoutMs);
    } catch (error) {
      // After a transient error the job may be on the log: the sweep later decides whether the file belongs
      // to one.
      if (isKept && !(error instanceof MillraceError && error.retriable)) await files.remove(jobId);
      throw error;
    }
    runner.enqueue(jobId);
    return log.get(jobId) ?? job;
  } catch (error) {
    await files.discard(received.id);
    throw error;
  }
}

function keyReused(): MillraceError {
  return new MillraceError(
    'IDEMPOTENCY_KEY_REUSED',
    'The Idempotency-Key was given to another file before. Send the same file, or a new key.',
  );
}

import type { Pipelines } from '../pipelines/pipeline-set.js';
import type { JobFiles } from './job-files.js';
import type { JobLog } from './job-log.js';
import { isFinished } from './job.js';

/** Age after which a file without a job was left by a request that failed at the log. */
const unclaimedMs = 3_600_000;

export interface RetentionOptions {
  log: JobLog;
  files: JobFiles;
  pipelines: Pick<Pipelines, 'has' | 'down'>;
  /** How long files are kept after a job has finished. Its state is kept twice as long. */
  retentionMs: number;
}

/**
 * Removes the files and later the states of jobs that finished long ago, and files that belong to no job. A
 * job whose pipeline no longer exists loses its file as if it were finished.
 *
 * @throws errors of the file system; MillraceError as {@link JobLog.removeFinishedBefore}.
 */
export async function removeOldJobs({ log, files, pipelines, retentionMs }: RetentionOptions): Promise<void> {
  await files.sweep((jobId) => {
    if (jobId === undefined) return retentionMs;
    const job = log.get(jobId);
    if (job === undefined) return Math.min(unclaimedMs, retentionMs);
    const exists = pipelines.has(job.pipeline) || pipelines.down.has(job.pipeline);
    return isFinished(job) || !exists ? retentionMs : Number.POSITIVE_INFINITY;
  });
  await log.removeFinishedBefore(Date.now() - 2 * retentionMs);
}

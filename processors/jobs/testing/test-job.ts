import { randomUUID } from 'node:crypto';
import { type Job, newRowIds } from '../job.js';

export const hourMs = 3_600_000;

/** Returns a job as its newest event, written some time ago, describes it. */
export function jobOf(set: Partial<Job> & { agoMs?: number } = {}): Job {
  const { agoMs = 0, ...rest } = set;
  const at = Date.now() - agoMs;
  const isFinished = set.state === 'done' || set.state === 'failed';
  return {
    job_id: randomUUID(),
    pipeline: 'here',
    state: 'accepted',
    created_at: at,
    at,
    finished_at: isFinished ? at : null,
    runner: null,
    file_name: 'people.csv',
    format: 'csv',
    bytes: 7,
    rows_total: null,
    rows_read: 0,
    rows_invalid: 0,
    rows_scored: 0,
    rows_failed: 0,
    error_code: null,
    error: null,
    owner: null,
    digest: null,
    row_ids: newRowIds(),
    score_column: 'prediction',
    ...rest,
  };
}

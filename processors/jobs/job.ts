import { randomUUID } from 'node:crypto';
import { isDate } from '../../schemas/times.js';
import type { JobEvent } from '../../schemas/types.js';

/** What is known of a job: its newest event. */
export type Job = JobEvent;

export function isFinished({ state }: Job): boolean {
  return state === 'done' || state === 'failed';
}

/** Whether the id and the times of an event are valid: anybody may write to the topic, and ids name folders. */
export function isValid({ job_id: id, created_at, at, finished_at }: JobEvent): boolean {
  return /^[\w-]+$/.test(id) && [created_at, at, finished_at ?? 0].every(isDate);
}

/**
 * How the ids of a new job's rows begin: 90 bits of chance. Ids that follow from what others know could be given to events
 * before the rows are there, which would then get the predictions of those.
 */
export function newRowIds(): string {
  const uuid = randomUUID();
  return `${uuid.slice(0, 14)}8${uuid.slice(15, 28)}`;
}

/**
 * The id of a row's event: a UUIDv8 (RFC 9562, section 5.8) that ends with the row. It follows from job and row, so a row
 * has one event whoever publishes it, and ids sort as the rows do.
 *
 * @param row - counts from 1; rows without any value don't count.
 */
export function rowEventId({ job_id, row_ids }: Pick<Job, 'job_id' | 'row_ids'>, row: number): string {
  if (row_ids === null) return `${job_id}-${String(row).padStart(8, '0')}`;
  return row_ids + row.toString(16).padStart(8, '0');
}

/** The number of a row in its event's id has no more digits. */
export const maxJobRows = 99_999_999;

import { randomUUID } from 'node:crypto';
import { isDate } from '../../schemas/times.js';
import type { JobEvent } from '../../schemas/types.js';

/** The state of a job: its newest event. */
export type Job = JobEvent;

export function isFinished({ state }: Job): boolean {
  return state === 'done' || state === 'failed';
}

/**
 * Whether the id and the times of an event are valid: anyone may write to the topic, and ids name folders.
 */
export function isValid({ job_id: id, created_at, at, finished_at }: JobEvent): boolean {
  return /^[\w-]+$/.test(id) && [created_at, at, finished_at ?? 0].every(isDate);
}

/**
 * Returns the prefix of the ids of a new job's rows: 90 random bits. Predictable ids could be given to other
 * events before the rows are written, and the rows would get the predictions of those.
 */
export function newRowIds(): string {
  const uuid = randomUUID();
  return `${uuid.slice(0, 14)}8${uuid.slice(15, 28)}`;
}

/**
 * Returns the id of a row's event: a UUIDv8 (RFC 9562, section 5.8) that ends with the row number. It is
 * derived from job and row, so a row has one event whoever publishes it, and ids sort as the rows do.
 *
 * @param row - counts from 1; empty rows don't count.
 */
export function rowEventId({ job_id, row_ids }: Pick<Job, 'job_id' | 'row_ids'>, row: number): string {
  if (row_ids === null) return `${job_id}-${String(row).padStart(8, '0')}`;
  return row_ids + row.toString(16).padStart(8, '0');
}

/** Maximum digits of the row number in an event's id. */
export const maxJobRows = 99_999_999;

import type { JobEvent } from '../../schemas/types.js';

/** What is known of a job: its newest event. */
export type Job = JobEvent;

export function isFinished({ state }: Job): boolean {
  return state === 'done' || state === 'failed';
}

/**
 * The id of a row's event. It follows from job and row, so a row has one event whoever publishes it, and ids sort as the
 * rows do.
 *
 * @param row - counts from 1; rows without any value don't count.
 */
export function rowEventId(jobId: string, row: number): string {
  return `${jobId}-${String(row).padStart(8, '0')}`;
}

/** Most rows of a job: so many digits has the number in an event's id. */
export const maxJobRows = 99_999_999;

/** The same items in batches of `size`, the last one perhaps smaller. */
export async function* inBatches<Item>(
  source: AsyncIterable<readonly Item[]>,
  size: number,
): AsyncGenerator<Item[]> {
  let batch: Item[] = [];
  for await (const items of source) {
    for (const item of items) {
      if (batch.push(item) < size) continue;
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

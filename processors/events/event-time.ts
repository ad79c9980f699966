import { storableTime } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';

/** Whether a time, milliseconds since 1970, is one that can be stored: other clients write what they like. */
export function isStorable(time: number): boolean {
  return time >= storableTime.from && time <= storableTime.to;
}

/**
 * A time as rows have it, ISO 8601.
 *
 * @param name - of the column, for the error.
 * @throws MillraceError `ROW_INVALID` for one that ClickHouse can't hold.
 */
export function toRowTime(name: string, time: number): string {
  if (isStorable(time)) return new Date(time).toISOString();
  throw new MillraceError(
    'ROW_INVALID',
    `${name} is ${time} ms since 1970: the years 1900 to 2299 can be stored.`,
  );
}

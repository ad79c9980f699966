const dayMs = 24 * 3_600_000;

/** RFC 3339, section 5.6, and what Python, pandas, PostgreSQL and spreadsheet programs write beside it. */
const timeText =
  /^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?$/;

/** As programs write times mostly, on any day but the 29th of February: nothing of it needs another check. */
const usualTime =
  /^\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{3})?Z$/;

/** What a time may look like, for the end of a sentence. */
export const timeExample = 'a time such as 2026-01-31T12:00:00Z';

/**
 * The milliseconds since 1970 of a time in text, by the one rule of all ways in: RFC 3339, where a space may
 * stand for the `T`, letters may be small, an offset may be `+0100` or `+01`, and a time without an offset,
 * or a day alone, is UTC. Digits after the milliseconds are dropped.
 *
 * @returns undefined for anything else, also for days that no calendar has, the hour 24 and leap seconds.
 */
export function parseTime(text: string): number | undefined {
  if (usualTime.test(text)) return Date.parse(text);
  const parts = timeText.exec(text);
  if (parts === null) return undefined;
  const [, date = '', hour = '0', minute = '0', second = '0', fraction = '', sign, ...offset] = parts;
  const [offsetHour, offsetMinute] = [Number(offset[0] ?? 0), Number(offset[1] ?? 0)];
  const midnight = parseMidnight(date);
  if (midnight === undefined || Number(hour) > 23 || offsetHour > 23) return undefined;
  if (Math.max(Number(minute), Number(second), offsetMinute) > 59) return undefined;
  const ofDay = ((Number(hour) * 60 + Number(minute)) * 60 + Number(second)) * 1000;
  const offsetMs = (offsetHour * 60 + offsetMinute) * 60_000 * (sign === '-' ? -1 : 1);
  return midnight + ofDay + Number(fraction.slice(0, 3).padEnd(3, '0')) - offsetMs;
}

/**
 * The days since 1970 of a day such as `2026-01-31`, as Avro counts a `date`; undefined for anything else.
 */
export function parseDay(text: string): number | undefined {
  const midnight = /^\d{4}-\d\d-\d\d$/.test(text) ? parseMidnight(text) : undefined;
  return midnight === undefined ? undefined : midnight / dayMs;
}

/** `Date.parse` takes the 30th of February for the 2nd of March. */
function parseMidnight(date: string): number | undefined {
  const midnight = Date.parse(`${date}T00:00:00Z`);
  return Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== date
    ? undefined
    : midnight;
}

let last = { time: 0, text: new Date(0).toISOString() };

/**
 * Returns a time as text in UTC, `2026-01-31T12:00:00.000Z`: in a tenth of the time for the same as the last
 * one, as the records of a batch mostly have.
 *
 * @throws RangeError if no `Date` can hold it: see {@link isDate}.
 */
export function toTimeText(time: number): string {
  if (time !== last.time) last = { time, text: new Date(time).toISOString() };
  return last.text;
}

/** The last millisecond since 1970 that a `Date` can hold; the first is as far before 1970. */
export const lastDate = 8.64e15;

/** Whether a `Date` can hold a time, milliseconds since 1970: on the log stands what others wrote. */
export function isDate(time: number): boolean {
  return Math.abs(time) <= lastDate;
}

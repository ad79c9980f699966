import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../platform/config.js';
import { dueRun, nextDue, type Schedule, schedulesOf } from './schedule.js';

const every5: Schedule = {
  name: 'test',
  pipeline: 'test',
  cron: '*/5 * * * *',
  timeZone: 'UTC',
  minEvents: 1,
  maxEvents: 10,
};

function at(time: string): number {
  return Date.parse(`2026-01-31T${time}Z`);
}

function due(schedule: Schedule, last: string | undefined, since: string, now: string): unknown {
  const run = dueRun(schedule, {
    lastDueAt: last === undefined ? undefined : at(last),
    since: at(since),
    now: at(now),
  });
  return run && { at: new Date(run.dueAt).toISOString().slice(11, 19), catchUp: run.catchUp };
}

describe('dueRun', () => {
  it('is none until the first due time after the start, however old the schedule is', () => {
    expect(due(every5, undefined, '12:02:00', '12:04:59.999')).toBeUndefined();
    expect(due(every5, undefined, '12:02:00', '12:05:00')).toEqual({ at: '12:05:00', catchUp: false });
    expect(due(every5, undefined, '12:05:00', '12:05:00')).toBeUndefined();
  });

  it('is one for each due time, even when late', () => {
    expect(due(every5, '12:00:00', '11:00:00', '12:04:59')).toBeUndefined();
    expect(due(every5, '12:00:00', '11:00:00', '12:09:59')).toEqual({ at: '12:05:00', catchUp: false });
    expect(due(every5, '12:05:00', '11:00:00', '12:09:59')).toBeUndefined();
  });

  it('is one for all missed times', () => {
    expect(due(every5, '03:00:00', '12:01:00', '12:01:00')).toEqual({ at: '12:00:00', catchUp: true });
    expect(due(every5, '12:00:00', '12:06:00', '12:06:00')).toEqual({ at: '12:05:00', catchUp: true });
    expect(due(every5, '12:00:00', '11:00:00', '12:10:00')).toEqual({ at: '12:10:00', catchUp: true });
  });

  it('is none when the clock is set back, until it has passed the last', () => {
    expect(due(every5, '12:00:00', '11:00:00', '11:55:00')).toBeUndefined();
  });

  it('is none when the schedule is off', () => {
    const off = { ...every5, cron: null };
    expect(due(off, '12:00:00', '11:00:00', '12:10:00')).toBeUndefined();
    expect(nextDue(off, at('12:00:00'))).toBeUndefined();
  });

  it('supports seconds', () => {
    const everySecond = { ...every5, cron: '* * * * * *' };
    expect(due(everySecond, '12:00:00', '11:00:00', '12:00:01.5')).toEqual({
      at: '12:00:01',
      catchUp: false,
    });
  });
});

const patterns = ['0 * * * *', '30 2 * * *', '0 3 * * 0', '15,45 1-3 * * *', '0 0 1 * *', '0 */6 * * *'];
/** Clock changes in 2026. */
const changes = {
  UTC: ['2026-03-08'],
  'Europe/Berlin': ['2026-03-29', '2026-10-25'],
  'America/Chicago': ['2026-03-08', '2026-11-01'],
  // By half an hour.
  'Australia/Lord_Howe': ['2026-04-05', '2026-10-04'],
};
const cases = Object.entries(changes).flatMap(([timeZone, days]) =>
  days.flatMap((day) => patterns.map((cron) => ({ cron, timeZone, day }))),
);

it.each(cases)(
  '$cron in $timeZone around $day: each due time is found when it comes, and none twice',
  ({ cron, timeZone, day }) => {
    const schedule = { ...every5, cron, timeZone };
    let lastDueAt = Date.parse(`${day}T00:00:00Z`) - 12 * 3_600_000;
    for (let runs = 0; runs < 30; runs++) {
      const next = nextDue(schedule, lastDueAt) ?? 0;
      expect(next).toBeGreaterThan(lastDueAt);
      expect(dueRun(schedule, { lastDueAt, since: 0, now: next - 1 })).toBeUndefined();
      expect(dueRun(schedule, { lastDueAt, since: 0, now: next })).toEqual({ dueAt: next, catchUp: false });
      lastDueAt = next;
    }
  },
);

it.each([
  ['30 2 * * *', '2026-03-29T01:00:00Z'],
  ['0 */2 * * *', '2026-03-29T02:00:00Z'],
  ['*/20 2 * * *', '2026-03-30T00:00:00Z'],
])('%s, due in an hour that Berlin skips: the next run is at %s', (cron, expected) => {
  const schedule = { ...every5, cron, timeZone: 'Europe/Berlin' };
  expect(nextDue(schedule, Date.parse('2026-03-28T23:10:00Z'))).toBe(Date.parse(expected));
});

describe('schedulesOf', () => {
  const pipelines = ['taxi-trip-duration'];

  it('is every five minutes unless set', () => {
    expect(schedulesOf(loadConfig({}), pipelines)).toEqual([
      { ...every5, name: 'taxi-rides', pipeline: 'taxi-trip-duration' },
    ]);
    const [off] = schedulesOf(loadConfig({ TAXI_SCHEDULE: 'off' }), pipelines);
    expect(off?.cron).toBeNull();
    expect(schedulesOf(loadConfig({}), [])).toEqual([]);
  });

  it.each([
    { TAXI_SCHEDULE: 'every day' },
    { TAXI_SCHEDULE: '0 0 30 2 *' },
    { SCHEDULE_TIME_ZONE: 'Mars/Olympus' },
    { TAXI_SCHEDULE_MIN_RIDES: '5', TAXI_SCHEDULE_MAX_RIDES: '4' },
    { TAXI_SCHEDULE_MAX_RIDES: '0' },
  ])('refuses %o', (settings) => {
    expect(() => loadConfig(settings)).toThrow(/SCHEDULE/);
  });
});

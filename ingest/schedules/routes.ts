import { Hono } from 'hono';
import type { ScheduleRuns } from '../../processors/schedules/schedule-runs.js';
import { nextDue, type Schedule } from '../../processors/schedules/schedule.js';
import { mayUse } from '../middleware/authorization.js';

const timeoutMs = 5_000;

/** `/v1/schedules`: when each schedule runs next, and what its last run did. */
export function scheduleRoutes(schedules: readonly Schedule[], runs: ScheduleRuns): Hono {
  const app = new Hono();
  app.get('/', async (c) => {
    // What was committed before this was asked is in the answer, whichever process did it.
    await runs.whenCaughtUp({ timeoutMs });
    const visible = schedules.filter(({ pipeline }) => mayUse(c, pipeline));
    return c.json({ schedules: visible.map((schedule) => describe(schedule, runs, Date.now())) });
  });
  return app;
}

function describe(schedule: Schedule, runs: ScheduleRuns, now: number) {
  const { name, pipeline, cron, timeZone, minEvents, maxEvents } = schedule;
  const last = runs.last(name);
  return {
    name,
    pipeline,
    cron,
    time_zone: timeZone,
    min_events: minEvents,
    max_events: maxEvents,
    next_run: toIso(nextDue(schedule, now)),
    last_run:
      last === undefined
        ? null
        : {
            run: last.run,
            due_at: toIso(last.due_at),
            started_at: toIso(last.started_at),
            events: last.events,
            catch_up: last.catch_up,
          },
    runs: last?.run ?? 0,
  };
}

function toIso(time: number | undefined): string | null {
  return time === undefined ? null : new Date(time).toISOString();
}

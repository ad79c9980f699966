import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import type { z } from 'zod';
import type { ScheduleRuns } from '../../processors/schedules/schedule-runs.js';
import { nextDue, type Schedule } from '../../processors/schedules/schedule.js';
import { mayUse } from '../middleware/authorization.js';
import { answer, problems } from '../openapi/describe.js';
import { type scheduleSchema, schedulesSchema } from './schemas.js';

const timeoutMs = 5_000;

/** `/v1/schedules`: the next run of each schedule, and the result of its last run. */
export function scheduleRoutes(schedules: readonly Schedule[], runs: ScheduleRuns): Hono {
  const app = new Hono();
  app.get(
    '/',
    describeRoute({
      tags: ['schedules'],
      summary: 'The next and the last run of each schedule.',
      responses: {
        200: answer('Every schedule that the client may see.', schedulesSchema),
        ...problems('LOG_UNAVAILABLE', 'LOG_TIMEOUT', 'REQUEST_TIMEOUT'),
      },
    }),
    async (c) => {
      // Everything committed before this request is in the answer, whichever process did it.
      await runs.whenCaughtUp({ timeoutMs });
      const visible = schedules.filter(({ pipeline }) => mayUse(c, pipeline));
      return c.json({ schedules: visible.map((schedule) => toAnswer(schedule, runs, Date.now())) });
    },
  );
  return app;
}

function toAnswer(schedule: Schedule, runs: ScheduleRuns, now: number): z.infer<typeof scheduleSchema> {
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
            due_at: new Date(last.due_at).toISOString(),
            started_at: new Date(last.started_at).toISOString(),
            events: last.events,
            catch_up: last.catch_up,
          },
    runs: last?.run ?? 0,
  };
}

function toIso(time: number | undefined): string | null {
  return time === undefined ? null : new Date(time).toISOString();
}

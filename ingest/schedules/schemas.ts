import { z } from 'zod';
import { time } from '../openapi/describe.js';

export const scheduleSchema = z
  .object({
    name: z.string(),
    pipeline: z.string(),
    cron: z.string().nullable().describe('`null`: it does not run.'),
    time_zone: z.string(),
    min_events: z.int(),
    max_events: z.int(),
    next_run: time.nullable(),
    last_run: z
      .object({
        run: z.int().describe('Counts from 1.'),
        due_at: time,
        started_at: time,
        events: z.int(),
        catch_up: z.boolean().describe('Whether it made up for runs that were missed.'),
      })
      .nullable(),
    runs: z.int(),
  })
  .meta({ id: 'Schedule' });

export const schedulesSchema = z.object({ schedules: z.array(scheduleSchema) });

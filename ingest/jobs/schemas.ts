import { z } from 'zod';
import { time } from '../openapi/describe.js';

/** The state of a job. */
export const jobSchema = z
  .object({
    job_id: z.string(),
    pipeline: z.string(),
    state: z.enum(['accepted', 'checking', 'publishing', 'scoring', 'writing', 'done', 'failed']),
    file_name: z.string(),
    format: z.enum(['xlsx', 'csv', 'jsonl']),
    bytes: z.int(),
    rows: z.object({
      total: z.int().nullable().describe('`null` until they are counted.'),
      published: z.int().describe('Events on the log.'),
      scored: z.int(),
      failed: z.int().describe('Invalid rows, and dead letters.'),
    }),
    created_at: time,
    updated_at: time,
    finished_at: time.nullable(),
    error: z
      .object({ code: z.string().nullable(), detail: z.string() })
      .nullable()
      .describe('Why the job failed.'),
    links: z.object({ self: z.string(), events: z.string(), result: z.string() }),
  })
  .meta({ id: 'Job' });

export type JobAnswer = z.infer<typeof jobSchema>;

export const jobsSchema = z.object({ jobs: z.array(jobSchema) });

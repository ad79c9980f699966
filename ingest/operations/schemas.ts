import { z } from 'zod';

export const liveSchema = z.object({ status: z.literal('up') });

export const stuckSchema = z.object({
  status: z.literal('down'),
  stuck: z.record(z.string(), z.string()).describe('What only a restart of the process fixes, by part.'),
});

/** See `HealthReport`. */
export const healthSchema = z
  .object({
    status: z.enum(['up', 'degraded', 'down']),
    parts: z.record(
      z.string(),
      z.object({
        status: z.enum(['up', 'degraded', 'down']),
        detail: z.string().optional().describe('What is wrong, and since when if known.'),
      }),
    ),
  })
  .meta({ id: 'Health' });

import { Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import type { Metrics } from '../../platform/metrics.js';
import type { Health } from '../../platform/health.js';
import { answer } from '../openapi/describe.js';
import { healthSchema, liveSchema, stuckSchema } from './schemas.js';

export interface OperationsOptions {
  health: Health;
  metrics: Metrics;
}

const tags = ['operations'];

/** `/health/live`, `/health/ready` and `/metrics`: every role answers them. */
export function operations({ health, metrics }: OperationsOptions): Hono {
  const app = new Hono();

  app.get(
    '/health/live',
    describeRoute({
      tags,
      summary: 'Whether the process works.',
      responses: {
        200: answer('It works.', liveSchema),
        503: answer('Only a restart helps.', stuckSchema),
      },
    }),
    async (c) => {
      const stuck = await health.stuck();
      const alive = Object.keys(stuck).length === 0;
      return alive ? c.json({ status: 'up' }) : c.json({ status: 'down', stuck }, 503);
    },
  );

  // AIMQ's programs and their load balancers use `/health`.
  for (const path of ['/health', '/health/ready'])
    app.get(
      path,
      describeRoute({
        tags,
        summary:
          path === '/health'
            ? 'The same as `/health/ready`, for clients of AIMQ.'
            : 'Whether the process is ready.',
        responses: {
          200: answer('Ready. `degraded`: a part that is optional does not work.', healthSchema),
          503: answer('Not ready. The detail of each part says why.', healthSchema),
        },
      }),
      async (c) => {
        const report = await health.report();
        return c.json(report, report.status === 'down' ? 503 : 200);
      },
    );

  app.get(
    '/metrics',
    describeRoute({
      tags,
      summary: 'Metrics in the Prometheus text format.',
      responses: {
        200: {
          description: 'All metrics of the process.',
          content: { 'text/plain': { schema: { type: 'string' } } },
        },
      },
    }),
    async (c) => c.body(await metrics.text(), 200, { 'content-type': metrics.registry.contentType }),
  );
  return app;
}

import { Hono } from 'hono';
import type { Metrics } from '../../platform/metrics.js';
import type { Health } from '../../platform/health.js';

export interface OperationsOptions {
  health: Health;
  metrics: Metrics;
}

/** `/health/live`, `/health/ready` and `/metrics`: what every role answers, whatever else it does. */
export function operations({ health, metrics }: OperationsOptions): Hono {
  const app = new Hono();
  app.get('/health/live', async (c) => {
    const stuck = await health.stuck();
    const alive = Object.keys(stuck).length === 0;
    return alive ? c.json({ status: 'up' }) : c.json({ status: 'down', stuck }, 503);
  });
  // AIMQ's programs and their load balancers ask `/health`.
  for (const path of ['/health', '/health/ready'])
    app.get(path, async (c) => {
      const report = await health.report();
      return c.json(report, report.status === 'down' ? 503 : 200);
    });
  app.get('/metrics', async (c) => {
    return c.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType });
  });
  return app;
}

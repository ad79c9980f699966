import { Hono } from 'hono';
import type { Metrics } from '../../platform/metrics.js';
import type { Health } from '../health.js';

export interface OperationsOptions {
  health: Health;
  metrics: Metrics;
  /** Brings gauges up to date before they are shown. */
  refreshMetrics?: () => Promise<void>;
}

/** `/health/live`, `/health/ready` and `/metrics`: what every role answers, whatever else it does. */
export function operations({ health, metrics, refreshMetrics }: OperationsOptions): Hono {
  const app = new Hono();
  app.get('/health/live', (c) => c.json({ status: 'up' }));
  app.get('/health/ready', async (c) => {
    const report = await health.report();
    return c.json(report, report.status === 'down' ? 503 : 200);
  });
  app.get('/metrics', async (c) => {
    await refreshMetrics?.();
    return c.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType });
  });
  return app;
}

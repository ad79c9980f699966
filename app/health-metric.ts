import { Gauge, type Registry } from 'prom-client';
import type { Health, PartHealth } from '../platform/health.js';

const values: Record<PartHealth['status'], number> = { up: 1, degraded: 0.5, down: 0 };

/** Shows what `/health/ready` says, part by part, asked anew at each scrape: readiness in a form that alerts can use. */
export function showHealth(registry: Registry, health: Health): void {
  const gauge = new Gauge({
    name: 'millrace_part_health',
    help: 'How a part that this process needs is: 1 up, 0.5 degraded, 0 down. One that is down makes the process not ready.',
    labelNames: ['part'] as const,
    registers: [registry],
    collect: async () => {
      const { parts } = await health.report();
      gauge.reset();
      for (const [part, { status }] of Object.entries(parts)) gauge.set({ part }, values[status]);
    },
  });
}

import { Gauge, type Registry } from 'prom-client';
import type { ModelLifecycle } from '../models/lifecycle/lifecycle.js';
import type { Health, PartHealth } from '../platform/health.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import type { Consumption } from '../streams/consumption.js';
import type { Streams } from '../streams/streams.js';

const values: Record<PartHealth['status'], number> = { up: 1, degraded: 0.5, down: 0 };

/** Exports the parts of `/health/ready` as a metric, evaluated at each scrape. */
export function showHealth(registry: Registry, health: Health): void {
  const gauge = new Gauge({
    name: 'millrace_part_health',
    help: 'Health of a part that this process needs: 1 up, 0.5 degraded, 0 down. The process is not ready while a part is down, except a single pipeline.',
    labelNames: ['part'] as const,
    registers: [registry],
    collect: async () => {
      const { parts } = await health.report();
      gauge.reset();
      for (const [part, { status }] of Object.entries(parts)) gauge.set({ part }, values[status]);
    },
  });
}

/** Degraded until an operator removes the copies of damaged files. */
export function damageHealth(files: readonly string[]): PartHealth {
  if (files.length === 0) return { status: 'up' };
  return {
    status: 'degraded',
    detail: `files of the log were damaged; their intact records are served. Inspect ${files.join(', ')} (docs/operations.md)`,
  };
}

/** The parts of pipelines that are down, with the reasons. */
export function downPipelines({ down }: Pipelines): Record<string, PartHealth> {
  return Object.fromEntries(
    Array.from(
      down,
      ([name, { reason }]) => [`pipeline ${name}`, { status: 'down', detail: reason }] as const,
    ),
  );
}

/** The part that is down while no pipeline serves: then requests should go elsewhere. */
export const somePipeline = 'pipelines';

export function somePipelineHealth(pipelines: Pipelines): PartHealth {
  return pipelines.size === 0 && pipelines.down.size > 0
    ? { status: 'down', detail: 'every pipeline is down' }
    : { status: 'up' };
}

/** Degraded if a version that should serve is not loaded, or changes of models cannot be read. */
export function modelsHealth(lifecycle: ModelLifecycle, wrong: readonly string[]): PartHealth {
  const { ok, since, lastError } = lifecycle.status();
  const problems = [...wrong];
  if (!ok) problems.push(`changes cannot be read: ${lastError}, since ${new Date(since).toISOString()}`);
  return problems.length === 0 ? { status: 'up' } : { status: 'degraded', detail: problems.join('; ') };
}

/** Silence after which a consumption counts as stuck: longer than all of its retries together. */
const stuckAfterMs = 180_000;

/** Reports the state of a consumption in readiness, and in liveness once only a restart helps. */
export function watchConsumption(
  { health, streams }: { health: Health; streams: Streams },
  name: string,
  consumption: Consumption,
  toHealth: (health: PartHealth) => PartHealth = (part) => part,
): void {
  health.add(name, () => toHealth(consumptionHealth(consumption)));
  health.addStuck(name, async () => {
    const silentMs = Date.now() - consumption.aliveAt();
    if (silentMs < stuckAfterMs) return undefined;
    // While the log is unavailable, a restart changes nothing.
    const answers = await streams.ping().then(
      () => true,
      () => false,
    );
    return answers
      ? `the log answers, but the consumer has not polled it for ${Math.round(silentMs / 1000)} s`
      : undefined;
  });
}

/** Returns the health of a consumption. */
function consumptionHealth(consumption: Consumption): PartHealth {
  const { ok, since, lastError } = consumption.status();
  return ok
    ? { status: 'up' }
    : { status: 'down', detail: `${lastError}, since ${new Date(since).toISOString()}` };
}

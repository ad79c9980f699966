import { setTimeout as sleep } from 'node:timers/promises';
import type { Hono } from 'hono';
import { startEngines } from './start-engines.js';
import { Health } from '../platform/health.js';
import { showHealth } from './health.js';
import { sendProblem } from '../ingest/problems.js';
import { operations, type OperationsOptions } from '../ingest/operations/routes.js';
import { type HttpServer, serveHttp } from '../ingest/server.js';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { createLogger } from '../platform/logger.js';
import { createMetrics } from '../platform/metrics.js';
import { startTraces } from '../platform/tracing/traces.js';
import { type Context, openContext, type Role } from './context.js';
import { stopAll } from './stop-all.js';

/** Engines that a single role requires. Only `millrace up` embeds engines. */
const needed = ['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'CLICKHOUSE_URL'] as const;

/** Starts a role in a process whose server already listens on `PORT`. */
export type StartRole = (context: Context, server: HttpServer) => Promise<Role>;

export interface RunRoleOptions {
  /** Name in traces. */
  role: string;
  /** Whether the role serves more than health and metrics. */
  servesHttp?: boolean;
  /** Further required settings. */
  needs?: readonly (keyof Config)[];
  /** Aborts the start. */
  signal?: AbortSignal;
}

/**
 * Runs a single role in this process, for production. Logs to stderr. Serves health and metrics from before
 * the engines are available until the role has stopped.
 *
 * @throws MillraceError `CONFIG_INVALID` if an engine is not set, `PORT_IN_USE`; the signal's reason.
 */
export async function runRole(
  config: Config,
  start: StartRole,
  { role, servesHttp = false, needs = [], signal }: RunRoleOptions,
): Promise<Role> {
  const unset = [...needed, ...needs].filter((name) => config[name] === undefined);
  if (unset.length > 0) {
    throw new MillraceError(
      'CONFIG_INVALID',
      `A single role needs ${unset.join(', ')}. Set them, or run \`millrace up\`.`,
    );
  }
  const logger = createLogger(config.LOG_LEVEL);
  const base = { logger, signal, metrics: createMetrics(), health: new Health(undefined, 'starting') };
  showHealth(base.metrics.registry, base.health);
  const roles: Role[] = [];
  const stop = (): Promise<void> => stopAll(roles);
  try {
    const first = servesHttp ? notYet(base) : operations(base);
    const server = await serveHttp(first, config.HOST, config.PORT);
    roles.push({ stop: () => server.stop() });
    roles.push(await startTraces(config, logger, role));
    const engines = await startEngines(config, base);
    roles.push(engines);
    const context = await openContext(config, engines, base);
    roles.push({ stop: () => context.close() });
    roles.push(await start(context, server));
    roles.push({
      stop: async () => {
        context.health.drain();
        if (servesHttp) await sleep(config.STOP_DELAY_MS);
      },
    });
    context.health.started();
    logger.info('ready');
    return { stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Responds while the API is starting. */
export function notYet(options: OperationsOptions): Hono {
  const app = operations(options);
  app.notFound((c) =>
    sendProblem(
      c,
      new MillraceError('STARTING', 'Millrace is starting or waiting for an engine: see /health/ready.'),
    ),
  );
  return app;
}

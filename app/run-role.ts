import { setTimeout as sleep } from 'node:timers/promises';
import type { Hono } from 'hono';
import { startEngines } from './start-engines.js';
import { Health } from '../platform/health.js';
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

/** Settings without which a process of its own has nothing to work with: embedded engines belong to `millrace up`. */
const needed = ['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'CLICKHOUSE_URL'] as const;

/** Starts a role in a process whose server answers on `PORT` already. */
export type StartRole = (context: Context, server: HttpServer) => Promise<Role>;

export interface RunRoleOptions {
  /** Its name, for traces. */
  role: string;
  /** Whether the role makes the server answer more than health and metrics. */
  servesHttp?: boolean;
  /** Settings that it needs beside the engines of all roles. */
  needs?: readonly (keyof Config)[];
  /** Ends the start when it aborts. */
  signal?: AbortSignal;
}

/**
 * Runs one role in a process of its own, for production. It logs to standard error. Health and metrics are answered from
 * the start, while engines are waited for, to the end of what is under way when it stops.
 *
 * @throws MillraceError `CONFIG_INVALID` when an engine is not set, `PORT_IN_USE`; the signal's reason.
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
      `A role of its own needs ${unset.join(', ')}. Set them, or run \`millrace up\`.`,
    );
  }
  const logger = createLogger(config.LOG_LEVEL);
  const base = { logger, signal, metrics: createMetrics(), health: new Health(undefined, 'starting') };
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

/** Answers in place of an API that is still starting. */
function notYet(options: OperationsOptions): Hono {
  const app = operations(options);
  app.notFound((c) =>
    sendProblem(
      c,
      new MillraceError('STARTING', 'Millrace is starting, or waits for an engine: see /health/ready.'),
    ),
  );
  return app;
}

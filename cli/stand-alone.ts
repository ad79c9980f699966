import { startEngines } from './start-engines.js';
import { operations } from '../ingest/routes/operations.js';
import { serveHttp } from '../ingest/server.js';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { createLogger } from '../platform/logger.js';
import { startTraces } from '../platform/tracing/traces.js';
import { type Context, openContext, type Role } from './context.js';
import { stopAll } from './stop-all.js';

/** Settings without which a process of its own has nothing to work with: embedded engines belong to `millrace up`. */
const needed = ['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'CLICKHOUSE_URL'] as const;

/**
 * Runs one role in a process of its own, for production. It logs to standard error.
 *
 * @param servesHttp - whether the role answers on `PORT` itself; else health and metrics are served there.
 * @throws MillraceError `CONFIG_INVALID` when an engine is not set.
 */
export async function standAlone(
  config: Config,
  start: (context: Context) => Promise<Role>,
  { role, servesHttp }: { role: string; servesHttp: boolean },
): Promise<Role> {
  const unset = needed.filter((name) => config[name] === undefined);
  if (unset.length > 0) {
    throw new MillraceError(
      'CONFIG_INVALID',
      `A role of its own needs ${unset.join(', ')}. Set them, or run \`millrace up\`.`,
    );
  }
  const logger = createLogger(config.LOG_LEVEL);
  const roles: Role[] = [];
  const stop = (): Promise<void> => stopAll(roles);
  try {
    roles.push(await startTraces(config, logger, role));
    const engines = await startEngines(config, logger);
    roles.push(engines);
    const context = await openContext(config, engines, logger);
    roles.push({ stop: () => context.close() });
    if (!servesHttp) roles.push(await serveHttp(operations(context), config.HOST, config.PORT));
    roles.push(await start(context));
    roles.push({ stop: () => context.health.drain() });
    logger.info('ready');
    return { stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

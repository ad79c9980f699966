import { type BridgeStatus } from '../bridges/rabbitmq/connection.js';
import { bridgeGroup, startBridge as start } from '../bridges/rabbitmq/bridge.js';
import type { PartHealth } from '../platform/health.js';
import { MillraceError } from '../platform/errors.js';
import type { Context, Role } from './context.js';
import { watchConsumption } from './health.js';
import { whenNamesChange } from './names-change.js';

/**
 * Starts the RabbitMQ bridge.
 *
 * @param optional - whether the process has other roles. If so, it is degraded, not down, while RabbitMQ is
 *   unavailable.
 * @throws MillraceError `CONFIG_INVALID`
 */
export async function startBridge(
  context: Context,
  { optional = false }: { optional?: boolean } = {},
): Promise<Role> {
  const { config, health, lag } = context;
  const url = config.RABBITMQ_URL;
  if (url === undefined)
    throw new MillraceError(
      'CONFIG_INVALID',
      'The bridge needs RABBITMQ_URL, such as amqp://localhost:5672.',
    );
  const bridge = await start({ ...context, url });
  lag.track(bridgeGroup, bridge.resultTopics());
  const ignore = whenNamesChange(
    context.pipelines,
    () => {
      lag.track(bridgeGroup, bridge.resultTopics());
      return bridge.results.restart();
    },
    context.logger,
  );
  const failure = optional ? 'degraded' : 'down';
  health.add('rabbitmq', () => {
    const wrong = bridge.connections().find(({ ok }) => !ok);
    return wrong === undefined ? { status: 'up' } : toHealth(wrong, failure);
  });
  for (const [part, status] of bridge.parts)
    // A standby is not down.
    health.add(part, () => toHealth(status(), 'degraded'));
  watchConsumption(context, 'rabbitmq results', bridge.results, ({ status, ...rest }) => ({
    status: status === 'down' ? failure : status,
    ...rest,
  }));
  return {
    stop: () => {
      ignore();
      return bridge.stop();
    },
  };
}

function toHealth({ ok, since, problem }: BridgeStatus, failure: 'degraded' | 'down'): PartHealth {
  return ok
    ? { status: 'up' }
    : { status: failure, detail: `${problem}, since ${new Date(since).toISOString()}` };
}

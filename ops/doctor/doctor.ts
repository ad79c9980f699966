import { type Config, loadConfig } from '../../platform/config.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { readEndpoints } from '../../app/endpoints.js';
import { findEngine } from '../find-engines.js';
import { checkClickHouse } from './check-clickhouse.js';
import { checkLog } from './check-log.js';
import { checkPipelines } from './check-pipelines.js';
import { checkRabbitMq } from './check-rabbitmq.js';
import { checkRedis } from './check-redis.js';
import { checkRegistry } from './check-registry.js';
import { checkSettings } from './check-settings.js';
import { checkStorage } from './check-storage.js';
import { checkSystem } from './check-system.js';
import { type Area, attempt, Diagnosis, type Finding } from './diagnosis.js';

/** Time limit per engine. */
const timeoutMs = 25_000;

/**
 * Checks everything that Millrace needs, without changing anything. Never throws: a failed check is a
 * finding.
 *
 * @param environment - the settings, as environment variables.
 */
export async function diagnose(environment: Record<string, string | undefined>): Promise<Finding[]> {
  const diagnosis = new Diagnosis();
  let config: Config;
  try {
    config = loadConfig(environment);
  } catch (error) {
    diagnosis
      .notes('settings')
      .error(messageOf(error), 'Fix these environment variables. `millrace settings` lists all of them.');
    return diagnosis.findings;
  }
  checkSettings(diagnosis.notes('settings'), config);
  const usable = await checkPipelines(diagnosis, config);
  const pipelines = usable.map(({ name }) => name);
  /** Checks one engine. An engine that is down does not affect the checks of the others. */
  const engine = (area: Area, name: string, check: () => Promise<void>): Promise<boolean> =>
    attempt(
      diagnosis.notes(area),
      {
        what: `Cannot check ${name}`,
        fix: 'Start the system (`npm start`), or fix the setting in the message.',
        timeoutMs,
      },
      check,
    );
  const { REDIS_URL: redis, RABBITMQ_URL: rabbitMq } = config;
  await Promise.all([
    engine('log', 'the log', async () => checkLog(diagnosis, config, await find(config, 'kafka'), pipelines)),
    engine('registry', 'the schema registry', async () =>
      checkRegistry(diagnosis, config, await find(config, 'schema_registry'), usable),
    ),
    engine('clickhouse', 'ClickHouse', async () =>
      checkClickHouse(diagnosis, config, await find(config, 'clickhouse')),
    ),
    redis === undefined ? undefined : engine('redis', 'Redis', () => checkRedis(diagnosis, config, redis)),
    rabbitMq === undefined
      ? undefined
      : engine('rabbitmq', 'RabbitMQ', () => checkRabbitMq(diagnosis, config, rabbitMq)),
    engine('models', 'the folders', () => checkStorage(diagnosis, config)),
    engine('system', 'the HTTP API', async () => {
      const url = config.MILLRACE_URL ?? (await readEndpoints(config.DATA_DIR))?.http;
      if (url !== undefined) await checkSystem(diagnosis, url);
    }),
  ]);
  return inOrder(diagnosis.findings);
}

const find: typeof findEngine = async (config, name) => {
  try {
    return await findEngine(config, name);
  } catch (error) {
    throw error instanceof MillraceError
      ? error
      : new Error(`Cannot read endpoints.json: ${messageOf(error)}`, { cause: error });
  }
};

const areas: readonly Area[] = [
  'settings',
  'pipelines',
  'system',
  'log',
  'topics',
  'permissions',
  'groups',
  'registry',
  'clickhouse',
  'redis',
  'rabbitmq',
  'models',
  'disk',
  'clocks',
];

function inOrder(findings: readonly Finding[]): Finding[] {
  return findings.toSorted((a, b) => areas.indexOf(a.area) - areas.indexOf(b.area));
}

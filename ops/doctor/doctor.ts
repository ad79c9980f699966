import { type Config, loadConfig } from '../../platform/config.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { loadPipelines } from '../../processors/pipelines/pipeline.js';
import { readEndpoints } from '../../app/endpoints.js';
import { findEngine } from '../find-engines.js';
import { checkClickHouse } from './check-clickhouse.js';
import { checkLog } from './check-log.js';
import { checkRabbitMq } from './check-rabbitmq.js';
import { checkRedis } from './check-redis.js';
import { checkRegistry } from './check-registry.js';
import { checkSettings } from './check-settings.js';
import { checkStorage } from './check-storage.js';
import { checkSystem } from './check-system.js';
import { type Area, attempt, Diagnosis, type Finding } from './diagnosis.js';

/** Whatever hangs, an answer comes within so long. */
const timeoutMs = 25_000;

/**
 * Looks at everything that Millrace needs and changes nothing. Never throws: what can't be looked at is a finding.
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
      .error(messageOf(error), 'Mend these environment variables: `millrace settings` lists all.');
    return diagnosis.findings;
  }
  checkSettings(diagnosis.notes('settings'), config);
  const pipelines = (await loadPipelines()).map(({ name }) => name);
  /** Each engine by itself: one that is down takes nothing from the others. */
  const engine = (area: Area, name: string, check: () => Promise<void>): Promise<boolean> =>
    attempt(
      diagnosis.notes(area),
      {
        what: `${name} can’t be looked at`,
        fix: 'Start the system (`npm start`), or mend the setting that the message names.',
        timeoutMs,
      },
      check,
    );
  const { REDIS_URL: redis, RABBITMQ_URL: rabbitMq } = config;
  await Promise.all([
    engine('log', 'The log', async () => checkLog(diagnosis, config, await find(config, 'kafka'), pipelines)),
    engine('registry', 'The schema registry', async () =>
      checkRegistry(diagnosis, config, await find(config, 'schema_registry'), pipelines),
    ),
    engine('clickhouse', 'ClickHouse', async () =>
      checkClickHouse(diagnosis, config, await find(config, 'clickhouse')),
    ),
    redis === undefined ? undefined : engine('redis', 'Redis', () => checkRedis(diagnosis, config, redis)),
    rabbitMq === undefined
      ? undefined
      : engine('rabbitmq', 'RabbitMQ', () => checkRabbitMq(diagnosis, config, rabbitMq)),
    engine('models', 'Folders', () => checkStorage(diagnosis, config)),
    engine('system', 'The HTTP API', async () => {
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
      : new Error(`endpoints.json can’t be read: ${messageOf(error)}`, { cause: error });
  }
};

const areas: readonly Area[] = [
  'settings',
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

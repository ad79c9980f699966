import { join } from 'node:path';
import { MillraceError } from './errors.js';
import { isSecret, keepBasicSecret, readSecrets, withoutSecrets } from './secrets.js';
import { type Config, variables } from './settings.js';
import { tlsSettingProblems } from './tls-settings.js';

export type { Config } from './settings.js';

/**
 * Reads all settings from environment variables, once, at the start. An empty or blank variable counts as
 * unset.
 *
 * @throws MillraceError `CONFIG_INVALID` that names each wrong variable, its value (not a password's) and the
 *   allowed values.
 */
export function loadConfig(environment: Record<string, string | undefined>): Config {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value?.trim() !== ''));
  const secrets = readSecrets(set);
  const result = variables.safeParse(secrets.environment);
  const problems = result.success
    ? settingsThatMiss(result.data)
    : result.error.issues.map((issue) => {
        const name = String(issue.path[0]);
        const value = isSecret(name) ? '' : ` is ${JSON.stringify(environment[name])}`;
        return `${name}${withoutSecrets(value)}: ${issue.message}`;
      });
  problems.push(...secrets.problems);
  if (!result.success || problems.length > 0) {
    throw new MillraceError(
      'CONFIG_INVALID',
      `Wrong settings:\n  ${problems.join('\n  ')}\nMend these environment variables and start again.`,
    );
  }
  const { SCHEMA_REGISTRY_USER, SCHEMA_REGISTRY_PASSWORD, CLICKHOUSE_USER, CLICKHOUSE_PASSWORD } =
    result.data;
  keepBasicSecret(SCHEMA_REGISTRY_USER ?? '', SCHEMA_REGISTRY_PASSWORD ?? '');
  keepBasicSecret(CLICKHOUSE_USER ?? 'default', CLICKHOUSE_PASSWORD ?? '');
  const { DATA_DIR, MILLRACE_PROJECT: project } = result.data;
  return { ...result.data, DATA_DIR: DATA_DIR === '' ? join(project, '.millrace') : DATA_DIR };
}

/** Returns the problems that involve several settings. */
function settingsThatMiss(config: Config): string[] {
  const {
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: username,
    KAFKA_SASL_PASSWORD: password,
  } = config;
  const sasl = [mechanism, username, password].filter((value) => value !== undefined).length;
  return [
    ...(sasl === 0 || sasl === 3
      ? []
      : [
          'KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD go together: set all three or none',
        ]),
    ...tlsSettingProblems(config, {
      KAFKA: config.KAFKA_TLS,
      SCHEMA_REGISTRY: config.SCHEMA_REGISTRY_URL?.startsWith('https:'),
      CLICKHOUSE: config.CLICKHOUSE_URL?.startsWith('https:'),
      RABBITMQ: config.RABBITMQ_URL?.startsWith('amqps:'),
      REDIS: config.REDIS_URL?.startsWith('rediss:'),
    }),
    ...(config.OTEL_EXPORTER_OTLP_PROTOCOL === 'grpc' && config.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined
      ? [
          'OTEL_EXPORTER_OTLP_PROTOCOL is grpc, which is not spoken here: set http/json and the endpoint of OTLP over HTTP, usually port 4318',
        ]
      : []),
    ...(config.STOP_DELAY_MS >= config.STOP_TIMEOUT_MS
      ? ['STOP_DELAY_MS is not less than STOP_TIMEOUT_MS: no time is left to end what is under way']
      : []),
    ...(config.TAXI_SCHEDULE_MIN_RIDES > config.TAXI_SCHEDULE_MAX_RIDES
      ? ['TAXI_SCHEDULE_MIN_RIDES is more than TAXI_SCHEDULE_MAX_RIDES']
      : []),
  ];
}

import { resolve } from 'node:path';
import { Cron } from 'croner';
import { z } from 'zod';
import { rabbitmqVariables } from './rabbitmq-settings.js';
import { secretFileVariables } from './secrets.js';
import { sqlSourcesSetting } from './sql-sources.js';
import { tlsVariables } from './tls-settings.js';

const port = z.coerce.number().int().min(0).max(65_535);
const list = z
  .string()
  .transform((text) =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  ) // prettier-ignore
  .refine((items) => items.length > 0, 'has no item between its commas');
/** The maximum delay of Node's timers. */
const maxMs = 2 ** 31 - 1;
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');
const rides = z.coerce.number().int().min(1).max(10_000);
const url = z.url({ protocol: /^https?$/ });

/** Every setting: its type, its default and its meaning. */
export const variables = z.object({
  HOST: z.string().default('127.0.0.1').describe('Address to listen on.'),
  PORT: port.default(8080).describe('Port of the HTTP API.'),
  MILLRACE_PROJECT: z
    .string()
    .default('')
    .transform((folder) => resolve(folder))
    .describe(
      'Your project: the folder of its pipelines, contracts and models. Unset: the working directory.',
    ),
  DATA_DIR: z
    .string()
    .default('')
    .describe('Data folder of the embedded engines. Unset: `.millrace` in MILLRACE_PROJECT.'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('Minimum log level.'),

  KAFKA_BROKERS: list
    .optional()
    .describe('Kafka or Redpanda brokers, host:port, comma-separated. Unset: the embedded broker.'),
  KAFKA_PORT: port.default(9092).describe('Port of the embedded broker.'),
  KAFKA_SASL_MECHANISM: z
    .enum(['plain', 'scram-sha-256', 'scram-sha-512'])
    .optional()
    .describe('SASL mechanism for KAFKA_BROKERS: plain, scram-sha-256 or scram-sha-512.'),
  KAFKA_SASL_USERNAME: z.string().optional().describe('SASL user name.'),
  KAFKA_SASL_PASSWORD: z.string().optional().describe('SASL password.'),
  KAFKA_TLS: flag.default(false).describe('Use TLS for KAFKA_BROKERS.'),
  ...tlsVariables('KAFKA'),
  KAFKA_SESSION_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(300_000)
    .default(10_000)
    .describe(
      'Time after which other processes take over the partitions of a process that died, milliseconds. Brokers refuse less than their group.min.session.timeout.ms, 6000 by default.',
    ),
  TOPIC_PARTITIONS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(3)
    .describe('Number of partitions of new topics.'),
  TOPIC_REPLICATION: z.coerce
    .number()
    .int()
    .min(1)
    .max(9)
    .optional()
    .describe('Number of replicas of new topics. Unset: the broker’s default.'),

  SCHEMA_REGISTRY_URL: url.optional().describe('URL of the schema registry. Unset: the embedded one.'),
  SCHEMA_REGISTRY_PORT: port.default(8081).describe('Port of the embedded schema registry.'),

  SCHEMA_REGISTRY_USER: z.string().optional().describe('Schema registry user.'),
  SCHEMA_REGISTRY_PASSWORD: z.string().optional().describe('Schema registry password.'),
  ...tlsVariables('SCHEMA_REGISTRY'),

  CLICKHOUSE_URL: url.optional().describe('HTTP URL of ClickHouse. Unset: the embedded one.'),
  CLICKHOUSE_PORT: port.default(8123).describe('Port of the embedded ClickHouse.'),
  CLICKHOUSE_SOURCES: sqlSourcesSetting,
  CLICKHOUSE_USER: z.string().optional().describe('ClickHouse user.'),
  CLICKHOUSE_PASSWORD: z.string().optional().describe('ClickHouse password.'),
  ...tlsVariables('CLICKHOUSE'),

  API_KEYS: list
    .optional()
    .describe(
      'API keys, comma-separated. Each allows everything. If API_KEYS and API_KEYS_FILE are unset, clients need no key.',
    ),
  API_KEYS_FILE: z
    .string()
    .optional()
    .describe(
      'JSON file of API keys and their permissions; `millrace keys new` creates an entry. Changes take effect without a restart.',
    ),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/ })
    .optional()
    .describe(
      'Redis through which copies of `serve` share look-ups, event ids and rate limits: redis://, or rediss:// for TLS. Unset: each copy keeps them in memory.',
    ),
  ...tlsVariables('REDIS'),
  RATE_LIMIT_PER_SECOND: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000_000)
    .default(200_000)
    .describe(
      'Maximum requests per second of an API key, or of an address without a key. Each event of a list counts. 0: no limit.',
    ),
  RATE_LIMIT_LOOP_DELAY_MS: z.coerce
    .number()
    .min(1)
    .max(maxMs)
    .default(1_000)
    .describe(
      'Rate limits are reduced while the mean event loop delay over a second is above this value, milliseconds.',
    ),
  RATE_LIMIT_LAG_RECORDS: z.coerce
    .number()
    .int()
    .min(1)
    .default(1_000_000)
    .describe(
      'Rate limits are reduced while more events than this wait to be scored and their number grows.',
    ),
  TRUST_PROXY: z.coerce
    .number()
    .int()
    .min(0)
    .max(10)
    .default(0)
    .describe(
      'Number of proxies whose X-Forwarded-For header gives the client’s address. 0: use the address of the connection.',
    ),
  MAX_BODY_BYTES: z.coerce.number().int().min(1).default(10 * 1024 * 1024).describe('Maximum size of a request body, bytes.'), // prettier-ignore
  MAX_EVENTS_PER_REQUEST: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe('Maximum number of events in a request.'),
  REQUEST_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1)
    .max(maxMs)
    .default(30_000)
    .describe('Maximum duration of a request, milliseconds.'),
  STOP_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(3_600_000)
    .default(25_000)
    .describe(
      'Maximum time to finish the current work after SIGTERM, milliseconds. Then the process exits with code 1. Set it to less than the orchestrator waits.',
    ),
  STOP_DELAY_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(3_000)
    .describe(
      'Time for which the role `serve` accepts requests after SIGTERM while it is not ready, so that load balancers notice, milliseconds.',
    ),
  MODELS_DIR: z
    .string()
    .optional()
    .describe(
      'Folder of registered model versions, in addition to those of the project. All processes must share it. Unset: `models` in DATA_DIR.',
    ),
  MAX_MODEL_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .default(256 * 1024 * 1024)
    .describe('Maximum size of a file when a model version is registered, bytes.'),
  MODEL_TRIAL_MEMORY_MB: z.coerce
    .number()
    .int()
    .min(128)
    .max(1_000_000)
    .default(512)
    .describe(
      'Maximum memory of the process that tests a version before it is registered, in addition to six times the size of its graph, MiB.',
    ),
  SCORE_BATCH_SIZE: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(512)
    .describe('Maximum number of rows in a model call.'),
  SCORE_BATCH_DELAY_MS: z.coerce
    .number()
    .min(0)
    .max(1000)
    .default(0)
    .describe('Maximum time that a model call waits for more rows, milliseconds.'),
  MODEL_WORKERS: z.coerce
    .number()
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('Number of threads that run models.'),
  SINK_BATCH_ROWS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe('Maximum number of rows in an insert into ClickHouse.'),
  SINK_BATCH_DELAY_MS: z.coerce
    .number()
    .int()
    .min(1)
    .max(60_000)
    .default(200)
    .describe('Maximum time that an insert waits for more rows, milliseconds.'),

  FILES_DIR: z
    .string()
    .optional()
    .describe(
      'Folder of uploaded files and their results, shared by all copies of `serve`. Unset: `files` in DATA_DIR.',
    ),
  MAX_FILE_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .default(100 * 1024 * 1024)
    .describe('Maximum size of a job’s file, bytes.'),
  FILES_RETENTION_DAYS: z.coerce
    .number()
    .min(0.01)
    .max(36_500)
    .default(7)
    .describe('Retention time of the file and result of a finished job, days.'),

  ...rabbitmqVariables,
  ...tlsVariables('RABBITMQ'),

  MILLRACE_URL: url
    .optional()
    .describe(
      'URL of the HTTP API for commands. Unset: the system that runs on DATA_DIR, else localhost and PORT.',
    ),
  MILLRACE_API_KEY: z.string().optional().describe('API key that commands send.'),
  ...secretFileVariables,

  OTEL_EXPORTER_OTLP_ENDPOINT: url
    .optional()
    .describe(
      'OTLP endpoint over HTTP for traces, such as http://localhost:4318. Unset: no traces. OpenTelemetry’s other variables work too, see docs/traces.md.',
    ),
  OTEL_EXPORTER_OTLP_PROTOCOL: z
    .string()
    .default('http/json')
    .describe(
      'OTLP protocol. Millrace always sends JSON, which receivers of `http/protobuf` accept too. `grpc` is not supported.',
    ),
  OTEL_SDK_DISABLED: flag.default(false).describe('Turn traces off even if an endpoint is set.'),

  TAXI_SCHEDULE: z
    .string()
    .refine((text) => text === 'off' || isCron(text), 'is no cron pattern with a time to come, nor `off`')
    .default('*/5 * * * *')
    .describe('Cron pattern for sample taxi rides, or `off`. An optional first field is seconds.'),
  TAXI_SCHEDULE_MIN_RIDES: rides.default(1).describe('Minimum number of rides in a run.'),
  TAXI_SCHEDULE_MAX_RIDES: rides.default(10).describe('Maximum number of rides in a run.'),
  SCHEDULE_TIME_ZONE: z
    .string()
    .refine(isTimeZone, 'is no time zone such as UTC or America/Chicago')
    .default('UTC')
    .describe('Time zone of cron patterns.'),
});

/** Every setting, by its environment variable's name. */
export type Config = z.infer<typeof variables>;

export interface Setting {
  /** The environment variable. */
  name: string;
  meaning: string;
  /** Undefined without one. */
  default: string | undefined;
}

/** Every setting, grouped by subject. */
export function describeSettings(): Setting[] {
  return Object.entries(variables.shape).map(([name, schema]) => {
    const value = name === 'MILLRACE_PROJECT' ? undefined : schema.safeParse(undefined).data;
    return {
      name,
      meaning: schema.description ?? '',
      default: value === undefined || value === '' ? undefined : String(value),
    };
  });
}

/** Returns the content of `docs/settings.md`. */
export function settingsPage(settings: readonly Setting[]): string {
  const items = settings.map(({ name, meaning, default: value }) => {
    const ending = value === undefined ? '' : ` Default: \`${value}\`.`;
    return `- **\`${name}\`**: ${meaning}${ending}`;
  });
  return `# Settings

Settings are environment variables. Millrace reads them once, at the start. An empty variable counts as unset.
An invalid value stops the start with a message that names the variable.
This page is generated by \`npm run generate\`.

${items.join('\n')}`;
}

function isCron(pattern: string): boolean {
  try {
    return new Cron(pattern, { paused: true }).nextRun() !== null;
  } catch {
    return false;
  }
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

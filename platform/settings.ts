import { join } from 'node:path';
import { Cron } from 'croner';
import { z } from 'zod';
import { projectRoot } from './paths.js';
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
/** Node's timers take no more. */
const maxMs = 2 ** 31 - 1;
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');
const rides = z.coerce.number().int().min(1).max(10_000);
const url = z.url({ protocol: /^https?$/ });

/** Every setting: what it may be, what it is by default, and what it means. */
export const variables = z.object({
  HOST: z.string().default('127.0.0.1').describe('Address that everything listens on.'),
  PORT: port.default(8080).describe('HTTP API.'),
  DATA_DIR: z.string().default(join(projectRoot, '.millrace')).describe('Folder of the embedded engines.'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('Least level that is logged.'),

  KAFKA_BROKERS: list
    .optional()
    .describe('Kafka or Redpanda, host:port, comma separated. Unset: the embedded broker.'),
  KAFKA_PORT: port.default(9092).describe('Port of the embedded broker.'),
  KAFKA_SASL_MECHANISM: z
    .enum(['plain', 'scram-sha-256', 'scram-sha-512'])
    .optional()
    .describe('SASL mechanism for KAFKA_BROKERS.'),
  KAFKA_SASL_USERNAME: z.string().optional().describe('SASL user.'),
  KAFKA_SASL_PASSWORD: z.string().optional().describe('SASL password.'),
  KAFKA_TLS: flag.default(false).describe('Whether to talk TLS to KAFKA_BROKERS.'),
  ...tlsVariables('KAFKA'),
  KAFKA_SESSION_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(300_000)
    .default(10_000)
    .describe(
      'How soon the work of a process that died goes to others, milliseconds. Brokers refuse less than their group.min.session.timeout.ms, 6000 by default.',
    ),
  TOPIC_PARTITIONS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(3)
    .describe('Partitions of a topic when it is created.'),
  TOPIC_REPLICATION: z.coerce
    .number()
    .int()
    .min(1)
    .max(9)
    .optional()
    .describe('Copies of a topic when it is created. Unset: the broker’s default.'),

  SCHEMA_REGISTRY_URL: url.optional().describe('Schema registry. Unset: the embedded one.'),
  SCHEMA_REGISTRY_PORT: port.default(8081).describe('Port of the embedded registry.'),

  SCHEMA_REGISTRY_USER: z.string().optional().describe('Schema registry user.'),
  SCHEMA_REGISTRY_PASSWORD: z.string().optional().describe('Schema registry password.'),
  ...tlsVariables('SCHEMA_REGISTRY'),

  CLICKHOUSE_URL: url.optional().describe('ClickHouse over HTTP. Unset: the embedded one.'),
  CLICKHOUSE_PORT: port.default(8123).describe('Port of the embedded ClickHouse.'),
  CLICKHOUSE_SOURCES: sqlSourcesSetting,
  CLICKHOUSE_USER: z.string().optional().describe('ClickHouse user.'),
  CLICKHOUSE_PASSWORD: z.string().optional().describe('ClickHouse password.'),
  ...tlsVariables('CLICKHOUSE'),

  API_KEYS: list
    .optional()
    .describe(
      'Keys that a client must send one of, comma separated; each may do everything. Unset, and API_KEYS_FILE too: no key is asked for.',
    ),
  API_KEYS_FILE: z
    .string()
    .optional()
    .describe(
      'JSON file of API keys with what each may do, as `millrace keys new` makes its entries. Read again when it changes.',
    ),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/ })
    .optional()
    .describe(
      'Redis that the copies of `serve` share look-ups, event ids and limits through: redis://, or rediss:// for TLS. Unset: each has its own.',
    ),
  ...tlsVariables('REDIS'),
  RATE_LIMIT_PER_SECOND: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000_000)
    .default(200_000)
    .describe(
      'Requests a second that one API key, or address, may make; each event of a list counts. 0: no limit.',
    ),
  RATE_LIMIT_LOOP_DELAY_MS: z.coerce
    .number()
    .min(1)
    .max(maxMs)
    .default(1_000)
    .describe('Mean delay of the event loop over a second above which limits tighten, milliseconds.'),
  RATE_LIMIT_LAG_RECORDS: z.coerce
    .number()
    .int()
    .min(1)
    .default(1_000_000)
    .describe('Events that wait for their score above which limits tighten while they become more.'),
  TRUST_PROXY: z.coerce
    .number()
    .int()
    .min(0)
    .max(10)
    .default(0)
    .describe(
      'Proxies in front whose X-Forwarded-For tells the client’s address. 0: the connection’s address counts.',
    ),
  MAX_BODY_BYTES: z.coerce.number().int().min(1).default(10 * 1024 * 1024).describe('Largest request body, bytes.'), // prettier-ignore
  MAX_EVENTS_PER_REQUEST: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe('Most events of one request.'),
  REQUEST_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1)
    .max(maxMs)
    .default(30_000)
    .describe('How long a request may take, milliseconds.'),
  STOP_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(3_600_000)
    .default(25_000)
    .describe(
      'How long a process that is told to stop may end what is under way; then it ends as it is, with exit code 1. Less than the orchestrator waits, milliseconds.',
    ),
  STOP_DELAY_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(3_000)
    .describe(
      'How long `serve` alone goes on taking requests after it is told to stop, not ready any more: for load balancers to notice, milliseconds.',
    ),
  MODELS_DIR: z
    .string()
    .optional()
    .describe(
      'Folder of registered model versions, beside those that ship; all processes have to see it. Unset: `models` in DATA_DIR.',
    ),
  MAX_MODEL_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .default(256 * 1024 * 1024)
    .describe('Largest file of a model version that is registered, bytes.'),
  MODEL_TRIAL_MEMORY_MB: z.coerce
    .number()
    .int()
    .min(128)
    .max(1_000_000)
    .default(512)
    .describe(
      'Memory that the process which tries a version before it is registered may take, beyond six times its graph, MiB.',
    ),
  SCORE_BATCH_SIZE: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(512)
    .describe('Most rows that one model call scores.'),
  SCORE_BATCH_DELAY_MS: z.coerce
    .number()
    .min(0)
    .max(1000)
    .default(0)
    .describe('How long a model call may wait for more rows, milliseconds.'),
  MODEL_WORKERS: z.coerce.number().int().min(1).max(64).default(1).describe('Threads that run models.'),
  SINK_BATCH_ROWS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe('Most rows of one insert into ClickHouse.'),
  SINK_BATCH_DELAY_MS: z.coerce
    .number()
    .int()
    .min(1)
    .max(60_000)
    .default(200)
    .describe('How long an insert may wait for more rows, milliseconds.'),

  FILES_DIR: z
    .string()
    .optional()
    .describe(
      'Folder of uploaded files and their results, shared by all `serve` copies. Unset: `files` in DATA_DIR.',
    ),
  MAX_FILE_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .default(100 * 1024 * 1024)
    .describe('Largest file of a job, bytes.'),
  FILES_RETENTION_DAYS: z.coerce
    .number()
    .min(0.01)
    .max(36_500)
    .default(7)
    .describe('How long a finished job’s file and result are kept, days.'),

  ...rabbitmqVariables,
  ...tlsVariables('RABBITMQ'),

  MILLRACE_URL: url
    .optional()
    .describe(
      'HTTP API that commands talk to. Unset: the system that runs on DATA_DIR, else localhost and PORT.',
    ),
  MILLRACE_API_KEY: z.string().optional().describe('API key that commands send.'),
  ...secretFileVariables,

  OTEL_EXPORTER_OTLP_ENDPOINT: url
    .optional()
    .describe(
      'Where traces go: OTLP over HTTP, such as http://localhost:4318. Unset: there are none. OpenTelemetry’s other variables count as well: docs/traces.md.',
    ),
  OTEL_EXPORTER_OTLP_PROTOCOL: z
    .string()
    .default('http/json')
    .describe(
      'Protocol of traces. It is JSON in any case: who takes `http/protobuf` takes that too. `grpc` is not spoken.',
    ),
  OTEL_SDK_DISABLED: flag
    .default(false)
    .describe('Whether traces are off although they have somewhere to go.'),

  TAXI_SCHEDULE: z
    .string()
    .refine((text) => text === 'off' || isCron(text), 'is no cron pattern with a time to come, nor `off`')
    .default('*/5 * * * *')
    .describe('When sample taxi rides come in: a cron pattern, a sixth field first being seconds, or `off`.'),
  TAXI_SCHEDULE_MIN_RIDES: rides.default(1).describe('Fewest rides of one run.'),
  TAXI_SCHEDULE_MAX_RIDES: rides.default(10).describe('Most rides of one run.'),
  SCHEDULE_TIME_ZONE: z
    .string()
    .refine(isTimeZone, 'is no time zone such as UTC or America/Chicago')
    .default('UTC')
    .describe('Time zone of the cron patterns.'),
});

/** Every setting, by its environment variable's name. */
export type Config = z.infer<typeof variables>;

export interface Setting {
  /** The environment variable. */
  name: string;
  meaning: string;
  /** `Default: …`, or empty. */
  fallback: string;
}

/** Every setting, in the order of its subject. */
export function describeSettings(): Setting[] {
  return Object.entries(variables.shape).map(([name, schema]) => {
    const value = name === 'DATA_DIR' ? './.millrace' : schema.safeParse(undefined).data;
    return {
      name,
      meaning: schema.description ?? '',
      fallback: value === undefined ? '' : `Default: ${String(value)}.`,
    };
  });
}

/** `docs/settings.md`. */
export function settingsPage(settings: readonly Setting[]): string {
  const rows = settings.map(
    ({ name, meaning, fallback }) => `| \`${name}\` | ${meaning} ${fallback}`.trim() + ' |',
  );
  return `# Settings

Environment variables, read once at the start. An empty one counts as unset; a wrong one stops the start with a message that names it.
This page is made by \`npm run generate\`.

| variable | meaning |
| --- | --- |
${rows.join('\n')}`;
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

import type { ClickHouseClient } from '@clickhouse/client';
import { clickHouseSettings, createAnalytics } from '../analytics/client.js';
import { ping } from '../analytics/queries.js';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import { silentLogger } from '../platform/logger.js';
import { SchemaRegistryClient } from '../streams/schema-registry.js';
import { Serde } from '../streams/serde.js';
import { createStreams, type Streams } from '../streams/streams.js';
import { kafkaSettings, registryOptions } from '../app/connections.js';
import { type Endpoints, readEndpoints } from '../app/endpoints.js';

/** Setting for each engine in `endpoints.json`. */
const settingOf = {
  kafka: 'KAFKA_BROKERS',
  schema_registry: 'SCHEMA_REGISTRY_URL',
  clickhouse: 'CLICKHOUSE_URL',
} as const;

/**
 * Returns the address of an engine: from its setting, otherwise from the system that runs on the data folder.
 *
 * @throws MillraceError `NOT_RUNNING` if neither is known.
 */
export async function findEngine<Name extends keyof typeof settingOf>(
  config: Config,
  name: Name,
): Promise<Endpoints[Name]> {
  const set = config[settingOf[name]] ?? (await readEndpoints(config.DATA_DIR))?.[name];
  if (set !== undefined) return set as Endpoints[Name];
  throw new MillraceError(
    'NOT_RUNNING',
    `No system has run on ${config.DATA_DIR}, and ${settingOf[name]} is not set. Run \`npm start\`, set DATA_DIR to its folder, or set ${settingOf[name]}.`,
  );
}

/**
 * Runs an action with a connection to the log, and closes it.
 *
 * @throws MillraceError `LOG_UNAVAILABLE` if the log does not answer within 2 s.
 */
export async function withLog<T>(config: Config, action: (streams: Streams) => Promise<T>): Promise<T> {
  const streams = createStreams({
    ...kafkaSettings(config),
    brokers: await findEngine(config, 'kafka'),
    clientId: 'millrace-cli',
    logger: silentLogger,
  });
  try {
    await streams.ping();
    return await action(streams);
  } finally {
    await streams.close();
  }
}

/** Connections for commands that read. */
export interface ReadableEngines {
  streams: Streams;
  serde: Serde;
  client: ClickHouseClient;
}

/**
 * Runs an action with connections to the log, the registry and ClickHouse, and closes them.
 *
 * @throws MillraceError `NOT_RUNNING`, `LOG_UNAVAILABLE`, `REGISTRY_UNAVAILABLE`, `CLICKHOUSE_UNAVAILABLE`.
 */
export async function withEngines<T>(
  config: Config,
  action: (engines: ReadableEngines) => Promise<T>,
): Promise<T> {
  const registry = await findRegistry(config);
  const analytics = createAnalytics({
    url: await findEngine(config, 'clickhouse'),
    ...clickHouseSettings(config),
    requestTimeoutMs: 300_000,
  });
  try {
    return await withLog(config, async (streams) => {
      await Promise.all([registry.ping(), ping(analytics.client)]);
      return action({ streams, serde: new Serde(registry), client: analytics.client });
    });
  } finally {
    await analytics.close();
  }
}

/**
 * Returns a client of the schema registry in the settings, otherwise of the system that runs on the data
 * folder.
 */
export async function findRegistry(config: Config): Promise<SchemaRegistryClient> {
  return new SchemaRegistryClient(registryOptions(config, await findEngine(config, 'schema_registry')));
}

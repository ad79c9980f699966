import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Analytics, clickHouseSettings, createAnalytics } from '../analytics/client.js';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { retryForever } from '../platform/retry.js';
import type { StreamsSettings } from '../streams/connection.js';
import { createStreams } from '../streams/streams.js';

/** Addresses of the log, the registry and ClickHouse, embedded or external. */
export interface Engines {
  brokers: string[];
  registryUrl: string;
  analytics: Analytics;
  /** HTTP address of ClickHouse. */
  clickHouseUrl: string;
  /** Stops the embedded engines. */
  stop(): Promise<void>;
}

const clientId = 'millrace-schema-registry';

/** Options of a starting process. */
export interface Starting {
  logger: Logger;
  /** Aborts when the process is stopped before it has started. */
  signal?: AbortSignal;
}

type Stop = () => Promise<unknown>;

/**
 * Starts an embedded engine for each one without a setting. Loads embedded engines on demand: the container
 * image does not contain them.
 *
 * @param kafka - options of an external Kafka, where the embedded registry stores its schemas.
 * @throws MillraceError `PORT_IN_USE` with the setting to change, `CHDB_MISSING`, `CONFIG_INVALID`; the
 *   signal's reason.
 */
export async function startEngines(
  config: Config,
  process: Starting,
  kafka: Partial<StreamsSettings> = {},
): Promise<Engines> {
  const stops: Stop[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const clickHouse = await startClickHouse(config, process.logger, stops);
    const log = await startLog(config, process, kafka, stops);
    return { ...clickHouse, ...log, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Returns the engines of a process for another of its threads. Closing `analytics` closes no engine. */
export async function shareEngines(
  config: Config,
  { brokers, registryUrl, clickHouseUrl }: Pick<Engines, 'brokers' | 'registryUrl' | 'clickHouseUrl'>,
): Promise<Engines> {
  const analytics = await shareClickHouse(config);
  return { brokers, registryUrl, clickHouseUrl, analytics, stop: () => analytics.close() };
}

async function shareClickHouse(config: Config): Promise<Analytics> {
  const { CLICKHOUSE_URL: url } = config;
  if (url !== undefined) return createAnalytics({ ...clickHouseSettings(config), url });
  const { Chdb } = await import('../embedded/clickhouse/chdb.js');
  return createAnalytics({ connection: Chdb.share(clickHouseFolder(config)) });
}

/**
 * Connects to the log and the registry without ClickHouse, for a command while no process runs. Starts
 * embedded ones on free ports; the caller has locked the data folder.
 *
 * @throws MillraceError `NOT_RUNNING` if an embedded log has never been written; errors of the start.
 */
export async function startLogAlone(
  config: Config,
  process: Starting,
  kafka: Partial<StreamsSettings> = {},
): Promise<Pick<Engines, 'brokers' | 'registryUrl' | 'stop'>> {
  if (config.KAFKA_BROKERS === undefined && !existsSync(logFolder(config)))
    throw new MillraceError(
      'NOT_RUNNING',
      `No system has run on ${config.DATA_DIR}, and KAFKA_BROKERS is not set. Run \`npm start\`, or set DATA_DIR or KAFKA_BROKERS.`,
    );
  const stops: Stop[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const ports = { KAFKA_PORT: 0, SCHEMA_REGISTRY_PORT: 0 };
    return { ...(await startLog({ ...config, ...ports }, process, kafka, stops)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Returns copies of damaged files of the embedded log, until an operator removes them. None with an external
 * Kafka.
 */
export async function findDamagedFiles(config: Config): Promise<string[]> {
  if (config.KAFKA_BROKERS !== undefined) return [];
  const { findDamaged } = await import('../embedded/kafka/storage/damage.js');
  const folder = logFolder(config);
  return (await findDamaged(folder)).map((file) => join(folder, file));
}

function logFolder({ DATA_DIR }: Config): string {
  return join(DATA_DIR, 'log');
}

function clickHouseFolder({ DATA_DIR }: Config): string {
  return join(DATA_DIR, 'clickhouse');
}

async function startClickHouse(config: Config, logger: Logger, stops: Stop[]) {
  const { CLICKHOUSE_URL: url, HOST: host } = config;
  if (url !== undefined) {
    const analytics = createAnalytics({ ...clickHouseSettings(config), url });
    stops.push(() => analytics.close());
    return { analytics, clickHouseUrl: url };
  }
  const { Chdb } = await import('../embedded/clickhouse/chdb.js');
  const { startClickHouseEndpoint } = await import('../embedded/clickhouse/endpoint.js');
  const chdb = await Chdb.open(clickHouseFolder(config), config.CLICKHOUSE_SOURCES);
  const analytics = createAnalytics({ connection: chdb.connection() });
  stops.push(() => analytics.close());
  const endpoint = await startClickHouseEndpoint({
    chdb,
    host,
    port: config.CLICKHOUSE_PORT,
    portSetting: 'CLICKHOUSE_PORT',
    logger,
  });
  stops.push(() => endpoint.stop());
  return { analytics, clickHouseUrl: `http://${host}:${endpoint.port}` };
}

async function startLog(config: Config, process: Starting, kafka: Partial<StreamsSettings>, stops: Stop[]) {
  const { KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: registryUrl, HOST: host } = config;
  if (brokers !== undefined) {
    const url =
      registryUrl ?? (await startRegistryOn({ ...kafka, brokers, clientId, ...process }, config, stops));
    return { brokers, registryUrl: url };
  }
  const { startKafka } = await import('../embedded/kafka/start.js');
  const log = await startKafka({
    dataDir: logFolder(config),
    host,
    port: config.KAFKA_PORT,
    portSetting: 'KAFKA_PORT',
    registryPortSetting: 'SCHEMA_REGISTRY_PORT',
    defaultPartitions: config.TOPIC_PARTITIONS,
    logLevel: config.LOG_LEVEL,
    logDestination: join(config.DATA_DIR, 'millrace.log'),
    ...(registryUrl === undefined ? { registryPort: config.SCHEMA_REGISTRY_PORT } : {}),
  });
  stops.push(() => log.stop());
  return {
    brokers: [`${host}:${log.port}`],
    registryUrl: registryUrl ?? `http://${host}:${log.registryPort}`,
  };
}

/** Starts the embedded registry with its schemas on an external Kafka. */
async function startRegistryOn(
  settings: StreamsSettings & Starting,
  config: Config,
  stops: Stop[],
): Promise<string> {
  const { HOST: host, SCHEMA_REGISTRY_PORT: port } = config;
  const { logger } = settings;
  const { startSchemaRegistry } = await import('../embedded/schema-registry/server.js');
  const { TopicLog } = await import('./schema-registry-topic.js');
  const streams = createStreams(settings);
  stops.push(() => streams.close());
  const log = new TopicLog(streams);
  const registry = await retryForever('Opening the schema registry', settings, () =>
    startSchemaRegistry({ host, port, portSetting: 'SCHEMA_REGISTRY_PORT', log, logger }),
  );
  stops.push(() => registry.stop());
  return `http://${host}:${registry.port}`;
}

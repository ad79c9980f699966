import { join } from 'node:path';
import { type Analytics, clickHouseSettings, createAnalytics } from '../analytics/client.js';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { startClickHouseEndpoint } from './clickhouse/endpoint.js';
import { startEmbeddedKafka } from './kafka/start.js';

/** Where the log, the registry and ClickHouse are, embedded or not. */
export interface Engines {
  brokers: string[];
  registryUrl: string;
  analytics: Analytics;
  /** Where ClickHouse answers HTTP. */
  clickHouseUrl: string;
  /** Stops the embedded ones. */
  stop(): Promise<void>;
}

type Stop = () => Promise<unknown>;

/**
 * Starts an embedded engine for each that no setting names.
 *
 * @throws MillraceError `PORT_IN_USE` that names the setting to change, `CHDB_MISSING`, `CONFIG_INVALID`.
 */
export async function startEngines(config: Config, logger: Logger): Promise<Engines> {
  const stops: Stop[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const clickHouse = await startClickHouse(config, logger, stops);
    const log = await startLog(config, stops);
    return { ...clickHouse, ...log, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startClickHouse(config: Config, logger: Logger, stops: Stop[]) {
  const { CLICKHOUSE_URL: url, HOST: host } = config;
  const analytics = await createAnalytics({
    ...clickHouseSettings(config),
    url,
    dataDir: join(config.DATA_DIR, 'clickhouse'),
  });
  stops.push(() => analytics.close());
  if (url !== undefined || analytics.chdb === undefined) return { analytics, clickHouseUrl: url ?? '' };
  const options = { chdb: analytics.chdb, host, port: config.CLICKHOUSE_PORT, logger };
  const endpoint = await startClickHouseEndpoint(options);
  stops.push(() => endpoint.stop());
  return { analytics, clickHouseUrl: `http://${host}:${endpoint.port}` };
}

async function startLog(config: Config, stops: Stop[]) {
  const { KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: registryUrl, HOST: host } = config;
  if (brokers !== undefined && registryUrl !== undefined) return { brokers, registryUrl };
  if (brokers !== undefined) {
    const problem =
      'KAFKA_BROKERS is set and SCHEMA_REGISTRY_URL is not. The embedded registry keeps its schemas on the embedded log: set both.';
    throw new MillraceError('CONFIG_INVALID', problem);
  }
  const log = await startEmbeddedKafka({
    dataDir: join(config.DATA_DIR, 'log'),
    host,
    port: config.KAFKA_PORT,
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

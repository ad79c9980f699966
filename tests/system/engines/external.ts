import { type SeparateEngine, testEngines } from './chosen.js';
import { startClickHouse, startRedpanda } from './containers.js';

/** The engines of one system that are not embedded in it. */
export interface ExternalEngines {
  /** Millrace's settings for them: `KAFKA_BROKERS` and so on; empty when all are embedded. */
  settings: Record<string, string>;
  log?: SeparateEngine;
  clickHouse?: SeparateEngine;
}

type LogSettings = { KAFKA_BROKERS: string; SCHEMA_REGISTRY_URL?: string };

/** Starts the engines that {@link testEngines} asks for, empty. */
export async function startExternalEngines(): Promise<ExternalEngines> {
  if (testEngines === 'embedded') return { settings: {} };
  if (testEngines === 'apache-kafka') return startExternalLog();
  const [external, { url, engine }] = await Promise.all([startExternalLog(), startClickHouse()]);
  return { ...external, settings: { ...external.settings, CLICKHOUSE_URL: url }, clickHouse: engine };
}

/** Starts the log only. */
export async function startExternalLog(): Promise<{ settings: LogSettings; log: SeparateEngine }> {
  if (testEngines === 'containers') {
    const { brokers, registry, engine } = await startRedpanda();
    return { settings: { KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: registry }, log: engine };
  }
  // Imported only then: the module looks for the jars when it is loaded.
  const { ApacheKafka } = await import('./apache-kafka.js');
  const log = await ApacheKafka.start();
  return { settings: { KAFKA_BROKERS: log.brokers.join(',') }, log };
}

export async function stopExternalEngines({ log, clickHouse }: ExternalEngines): Promise<void> {
  await Promise.all([log?.stop(), clickHouse?.stop()]);
}

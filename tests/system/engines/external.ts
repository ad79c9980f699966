import { startClickHouse, startRedpanda } from './containers.js';

/**
 * On which engines the tests of the whole system run, by the environment variable `MILLRACE_TEST_ENGINES`: `embedded`, the
 * default; `apache-kafka`: the log is an Apache Kafka on this machine, the rest embedded; `containers`: Redpanda with its
 * registry, ClickHouse, RabbitMQ and Redis by Docker. RabbitMQ and Redis are always real ones.
 */
export const testEngines = chosen();

/** How many times longer tests wait than on embedded engines: others start slower, and share the machine's processors. */
export const patience = testEngines === 'embedded' ? 1 : 3;

/** An engine in processes of its own, to be taken away and brought back on the same port and data. */
export interface SeparateEngine {
  /** Ends it with SIGKILL. */
  kill(): Promise<void>;
  /** Resolves when it answers again. */
  restart(): Promise<void>;
  /** Halts it: connections stay, answers don't come. */
  pause(): void | Promise<void>;
  resume(): void | Promise<void>;
  /** Ends it for good and removes all that it wrote. */
  stop(): Promise<void>;
}

/** The engines of one system that are not embedded in it. */
export interface ExternalEngines {
  /** What leads Millrace to them: `KAFKA_BROKERS` and so on; nothing when all are embedded. */
  settings: Record<string, string>;
  log?: SeparateEngine;
  clickHouse?: SeparateEngine;
}

type LogSettings = { KAFKA_BROKERS: string; SCHEMA_REGISTRY_URL?: string };

/** Starts those that {@link testEngines} asks for, empty. */
export async function startExternalEngines(): Promise<ExternalEngines> {
  if (testEngines === 'embedded') return { settings: {} };
  if (testEngines === 'apache-kafka') return startExternalLog();
  const [external, { url, engine }] = await Promise.all([startExternalLog(), startClickHouse()]);
  return { ...external, settings: { ...external.settings, CLICKHOUSE_URL: url }, clickHouse: engine };
}

/** Starts the log alone. */
export async function startExternalLog(): Promise<{ settings: LogSettings; log: SeparateEngine }> {
  if (testEngines === 'containers') {
    const { brokers, registry, engine } = await startRedpanda();
    return { settings: { KAFKA_BROKERS: brokers, SCHEMA_REGISTRY_URL: registry }, log: engine };
  }
  // Only then: it looks for the jars when it is loaded.
  const { ApacheKafka } = await import('./apache-kafka.js');
  const log = await ApacheKafka.start();
  return { settings: { KAFKA_BROKERS: log.brokers.join(',') }, log };
}

export async function stopExternalEngines({ log, clickHouse }: ExternalEngines): Promise<void> {
  await Promise.all([log?.stop(), clickHouse?.stop()]);
}

function chosen(): 'embedded' | 'apache-kafka' | 'containers' {
  const name = process.env['MILLRACE_TEST_ENGINES'] || 'embedded';
  if (name === 'embedded' || name === 'apache-kafka' || name === 'containers') return name;
  throw new Error(`MILLRACE_TEST_ENGINES is ${name}: it is embedded, apache-kafka or containers.`);
}

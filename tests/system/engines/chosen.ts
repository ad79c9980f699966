/**
 * The engines of the system tests, chosen by the environment variable `MILLRACE_TEST_ENGINES`: `embedded`,
 * the default; `apache-kafka`: the log is an Apache Kafka on this machine, the rest embedded; `containers`:
 * Redpanda with its registry, ClickHouse, RabbitMQ and Redis in Docker. RabbitMQ and Redis are always real
 * servers.
 */
export const testEngines = chosen();

/**
 * Factor of the test timeouts relative to embedded engines: other engines start slower, and share the
 * processors.
 */
export const patience = testEngines === 'embedded' ? 1 : 3;

/** An engine in separate processes, which can be stopped and restarted on the same port and data. */
export interface SeparateEngine {
  /** Kills it with SIGKILL. */
  kill(): Promise<void>;
  /** Resolves when it answers again. */
  restart(): Promise<void>;
  /** Halts it: connections stay, answers don't come. */
  pause(): void | Promise<void>;
  resume(): void | Promise<void>;
  /** Stops it for good and removes all its files. */
  stop(): Promise<void>;
}

function chosen(): 'embedded' | 'apache-kafka' | 'containers' {
  const name = process.env['MILLRACE_TEST_ENGINES'] || 'embedded';
  if (name === 'embedded' || name === 'apache-kafka' || name === 'containers') return name;
  throw new Error(`MILLRACE_TEST_ENGINES is ${name}: it is embedded, apache-kafka or containers.`);
}

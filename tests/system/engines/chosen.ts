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

function chosen(): 'embedded' | 'apache-kafka' | 'containers' {
  const name = process.env['MILLRACE_TEST_ENGINES'] || 'embedded';
  if (name === 'embedded' || name === 'apache-kafka' || name === 'containers') return name;
  throw new Error(`MILLRACE_TEST_ENGINES is ${name}: it is embedded, apache-kafka or containers.`);
}

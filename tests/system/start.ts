import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningSystem, up } from '../../app/up.js';
import { loadConfig } from '../../platform/config.js';
import { silentLogger } from '../../platform/logger.js';
import { createStreams } from '../../streams/streams.js';
import { sql } from './audit.js';
import { startExternalEngines, stopExternalEngines } from './engines/external.js';

/**
 * The whole system in this process, on free ports and its own folder and external engines, with client
 * functions.
 */
export interface TestSystem extends RunningSystem {
  /** Posts a body to a path; text unchanged, anything else as JSON. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  get(path: string): Promise<Response>;
  /** Its data folder. */
  dataDir: string;
  /** Writes a record to a topic, as a program that uses the log. */
  send(topic: string, key: string, value: object): Promise<void>;
  /** Rows of a query, by column. */
  sql<Row>(query: string): Promise<Row[]>;
  /** Stops it and starts it again, on the same data and external engines. */
  restart(): Promise<TestSystem>;
}

/** @param settings - beyond those that isolate it from everything else on this machine. */
export async function startSystem(settings: Record<string, string> = {}): Promise<TestSystem> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  const external = await startExternalEngines();
  const config = loadConfig({
    PORT: '0',
    KAFKA_PORT: '0',
    SCHEMA_REGISTRY_PORT: '0',
    CLICKHOUSE_PORT: '0',
    DATA_DIR: folder,
    // Scheduled rides would be there in some runs of a test and not in others.
    TAXI_SCHEDULE: 'off',
    ...external.settings,
    ...settings,
  });
  const close = async (): Promise<void> => {
    await stopExternalEngines(external);
    await rm(folder, { recursive: true, force: true });
  };
  const start = async (): Promise<TestSystem> => {
    const system = await up(config, { demo: false, onProgress: () => undefined }).catch(
      async (error: unknown) => {
        await close();
        throw error;
      },
    );
    return {
      ...system,
      ...clientsOf(system),
      dataDir: config.DATA_DIR,
      restart: async () => {
        await system.stop();
        return start();
      },
      stop: async () => {
        await system.stop();
        await close();
      },
    };
  };
  return start();
}

function clientsOf({
  endpoints: { http, kafka, clickhouse },
}: RunningSystem): Pick<TestSystem, 'send' | 'get' | 'post' | 'sql'> {
  return {
    send: async (topic, key, value) => {
      const streams = createStreams({ brokers: kafka, clientId: 'test', logger: silentLogger });
      const producer = await streams.createProducer();
      await producer.send([{ topic, key, value: Buffer.from(JSON.stringify(value)) }]);
      await streams.close();
    },
    get: (path) => fetch(http + path),
    post: (path, body, headers = {}) =>
      fetch(http + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    sql: (query) => sql(clickhouse, query),
  };
}

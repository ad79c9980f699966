import type { ConnectionOptions } from 'node:tls';
import {
  ClickHouseLogLevel,
  createClient,
  type ClickHouseClient,
  type ClickHouseClientConfigOptions,
} from '@clickhouse/client';
import type { Config } from '../platform/config.js';
import type { InsertColumns } from '../platform/column-insert.js';
import { TlsAgent, tlsOptions } from '../platform/tls-settings.js';

/** Options of a ClickHouse server. */
export interface ServerOptions {
  /** HTTP address. */
  url: string;
  /** Default: `default` without a password. */
  username?: string | undefined;
  password?: string | undefined;
  /** Options for `https:`, such as a private authority. Default: Node's. */
  tls?: ConnectionOptions | undefined;
  /** Request timeout, in milliseconds. Default 30,000. */
  requestTimeoutMs?: number | undefined;
}

/** An engine in this process. Requests have no timeout. */
export interface EngineOptions {
  connection: NonNullable<ClickHouseClientConfigOptions['connection']> & { insertColumns?: InsertColumns };
}

export interface Analytics {
  /** The official client. Works the same for a server and an engine in this process. */
  readonly client: ClickHouseClient;
  /** Inserts columns as they are in memory; only an engine in this process can. */
  readonly insertColumns?: InsertColumns | undefined;
  close(): Promise<void>;
}

/** Disables the client's log, which repeats thrown errors on the console. */
const log = { level: ClickHouseLogLevel.OFF };

/** Default of the client. */
const maxConnections = 10;

/** Returns the options of a server from `CLICKHOUSE_USER`, `…_PASSWORD` and `CLICKHOUSE_TLS_*`. */
export function clickHouseSettings(config: Config) {
  return {
    username: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    tls: tlsOptions(config, 'CLICKHOUSE'),
  };
}

/** Creates a client of ClickHouse without connecting. Closing it also closes an engine in this process. */
export function createAnalytics(options: ServerOptions | EngineOptions): Analytics {
  if ('url' in options) {
    const client = clientOfServer(options);
    return { client, close: () => client.close() };
  }
  const { connection } = options;
  const client = createClient({ connection, log });
  return { client, insertColumns: connection.insertColumns, close: () => client.close() };
}

function clientOfServer({ url, username, password, tls, requestTimeoutMs }: ServerOptions): ClickHouseClient {
  return createClient({
    url,
    log,
    request_timeout: requestTimeoutMs ?? 30_000,
    ...(tls === undefined || !url.startsWith('https:')
      ? {}
      : { http_agent: new TlsAgent(tls, { keepAlive: true, maxSockets: maxConnections }) }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  });
}

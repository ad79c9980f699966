import type { ConnectionOptions } from 'node:tls';
import {
  ClickHouseLogLevel,
  createClient,
  type ClickHouseClient,
  type ClickHouseClientConfigOptions,
} from '@clickhouse/client';
import type { Config } from '../platform/config.js';
import { TlsAgent, tlsOptions } from '../platform/tls-settings.js';

/** A ClickHouse server. */
export interface ServerOptions {
  /** Its HTTP address. */
  url: string;
  /** Default ClickHouse's own: `default`, no password. */
  username?: string | undefined;
  password?: string | undefined;
  /** For `https:`, such as an authority of one's own. Default: Node's. */
  tls?: ConnectionOptions | undefined;
  /** Milliseconds a request may take. Default 30 000. */
  requestTimeoutMs?: number | undefined;
}

/** An engine in this process. Its requests have no timeout. */
export interface EngineOptions {
  connection: NonNullable<ClickHouseClientConfigOptions['connection']>;
}

export interface Analytics {
  /** The official client; the same calls work on a server and on an engine in this process. */
  readonly client: ClickHouseClient;
  close(): Promise<void>;
}

/** The client would write to the console what it throws as well. */
const log = { level: ClickHouseLogLevel.OFF };

/** As many as the client takes by default. */
const maxConnections = 10;

/** How a server is reached, from the settings `CLICKHOUSE_USER`, `…_PASSWORD` and `CLICKHOUSE_TLS_*`. */
export function clickHouseSettings(config: Config) {
  return {
    username: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    tls: tlsOptions(config, 'CLICKHOUSE'),
  };
}

/** Opens a client of ClickHouse. Nothing is sent yet. Closing it also closes an engine in this process. */
export function createAnalytics(options: ServerOptions | EngineOptions): Analytics {
  const client =
    'url' in options ? clientOfServer(options) : createClient({ connection: options.connection, log });
  return { client, close: () => client.close() };
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

import type { ConnectionOptions } from 'node:tls';
import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import type { Chdb } from '../embedded/clickhouse/chdb.js';
import type { Config } from '../platform/config.js';
import { MillraceError } from '../platform/errors.js';
import type { SqlSource } from '../platform/sql-sources.js';
import { TlsAgent, tlsOptions } from '../platform/tls-settings.js';

export interface AnalyticsOptions {
  /** A ClickHouse server's HTTP address. Unset → the embedded engine on `dataDir`. */
  url?: string | undefined;
  /** Only with `url`. Default ClickHouse's own: `default`, no password. */
  username?: string | undefined;
  password?: string | undefined;
  /** For `https:`, such as an authority of one's own. Default: Node's. */
  tls?: ConnectionOptions | undefined;
  /** Folder of the embedded engine, made when missing. One process at a time can use it. Required without `url`. */
  dataDir?: string | undefined;
  /** What SQL of the embedded engine may reach outside its tables. Default nothing. */
  sources?: readonly SqlSource[] | undefined;
  /** Milliseconds a request to a server may take. Default 30 000. The embedded engine has no such limit. */
  requestTimeoutMs?: number | undefined;
}

export interface Analytics {
  /** The official client; the same calls work on a server and on the embedded engine. */
  readonly client: ClickHouseClient;
  /** The embedded engine, for `startClickHouseEndpoint`; `undefined` with a server. */
  readonly chdb: Chdb | undefined;
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

/**
 * Opens the way to ClickHouse: to a server over HTTP when a URL is given (nothing is sent yet), else the embedded engine.
 *
 * @throws {MillraceError} `CHDB_MISSING`, `CHDB_OPEN_FAILED` (see {@link Chdb.open}), `ANALYTICS_OPTIONS`.
 */
export async function createAnalytics(options: AnalyticsOptions): Promise<Analytics> {
  if (options.url !== undefined) {
    const client = createClient({
      url: options.url,
      log,
      request_timeout: options.requestTimeoutMs ?? 30_000,
      ...(options.tls === undefined || !options.url.startsWith('https:')
        ? {}
        : { http_agent: new TlsAgent(options.tls, { keepAlive: true, maxSockets: maxConnections }) }),
      ...(options.username === undefined ? {} : { username: options.username }),
      ...(options.password === undefined ? {} : { password: options.password }),
    });
    return { client, chdb: undefined, close: () => client.close() };
  }
  if (options.dataDir === undefined) {
    throw new MillraceError(
      'ANALYTICS_OPTIONS',
      'ClickHouse needs a URL or a data folder; set CLICKHOUSE_URL.',
    );
  }
  // Not there in the container image, which needs none of the embedded engines.
  const { Chdb } = await import('../embedded/clickhouse/chdb.js');
  const chdb = await Chdb.open(options.dataDir, options.sources);
  const client = createClient({ connection: chdb.connection(), log });
  return { client, chdb, close: () => client.close() };
}

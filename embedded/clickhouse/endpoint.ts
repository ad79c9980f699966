import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { refusalOfBrowserRequest } from '../../platform/browser-requests.js';
import { messageOf } from '../../platform/errors.js';
import { silentLogger, type Logger } from '../../platform/logger.js';
import { serve, type RunningServer } from '../local-http.js';
import type { Chdb, ChdbResult } from './chdb.js';
import { compressorFor, readBody } from './http-body.js';
import { clickHouseError, codeOfText, httpStatusOf } from './http-errors.js';
import { contentTypeOf, formatOf, isInsert, parseRequest, type ParsedRequest } from './http-request.js';

export interface ClickHouseEndpointOptions {
  /**
   * There is no authentication: on an address other than loopback, anyone who reaches it can read and write
   * the tables.
   */
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** Name of the setting for `port`, for the error `PORT_IN_USE`. Default `port`. */
  portSetting?: string;
  chdb: Chdb;
  logger?: Logger;
  /** Maximum bytes of a request body after decompression. Default 128 MiB. */
  maxBodyBytes?: number;
  /** Maximum bytes of a result in columns, before its format. Default 128 MiB. */
  maxResultBytes?: number;
  /** Maximum bytes of memory of a query, its buffered result included. Default 512 MiB. */
  maxQueryMemoryBytes?: number;
  /** Maximum seconds of a query. Default 300. */
  maxQuerySeconds?: number;
}

/**
 * Maximum requests waiting for a slot of the engine; beyond, ClickHouse's own "too many simultaneous
 * queries".
 */
const maxOpenRequests = 100;
// A URL holds the query and its parameters; ClickHouse's own limit (http_max_uri_size) is 1 MiB.
const maxHeaderBytes = 1_100_000;
const noDataToInsert = 108;
/** How long running queries may continue once the endpoint stops; then they are cancelled. */
const stopGraceMs = 2000;
const timeZone = 'UTC';

/**
 * Serves ClickHouse's HTTP protocol (https://clickhouse.com/docs/interfaces/http) over the embedded engine,
 * for curl, the official clients and Grafana. The limits are defaults: a query's own settings override them.
 * A request has one statement, which can't access anything outside the engine's tables (see `statement.ts`,
 * `engine-config.ts`). Not supported: roles, temporary tables, multipart bodies, formats that are not text in
 * a request, native compression; each is refused by name. A `session_id` is accepted, since some clients
 * always send one, but no state is kept between requests.
 *
 * @throws {MillraceError} `PORT_IN_USE`, `LISTEN_FAILED`.
 */
export async function startClickHouseEndpoint(options: ClickHouseEndpointOptions): Promise<RunningServer> {
  const { chdb, host, logger = silentLogger, maxBodyBytes = 128 * 1024 * 1024 } = options;
  const defaults = {
    max_result_bytes: String(options.maxResultBytes ?? 128 * 1024 * 1024),
    max_memory_usage: String(options.maxQueryMemoryBytes ?? 512 * 1024 * 1024),
    max_execution_time: String(options.maxQuerySeconds ?? 300),
    session_timezone: timeZone,
  };
  const running = new Set<AbortController>();
  let openRequests = 0;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refusal = refusalOfBrowserRequest(request.headers, host);
    if (refusal !== undefined) return sendText(response, 403, `${refusal}\n`);
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (url.pathname === '/ping' || url.pathname === '/replicas_status')
      return sendText(response, 200, 'Ok.\n');
    if (url.pathname !== '/') return sendText(response, 404, `There is no handle ${url.pathname}\n`);
    if (!['GET', 'HEAD', 'POST'].includes(request.method ?? '')) {
      return sendText(response, 501, `Method ${request.method} is not served\n`);
    }
    const queryId = url.searchParams.get('query_id') || randomUUID();
    response.setHeader('X-ClickHouse-Query-Id', queryId);
    openRequests++;
    try {
      if (openRequests > maxOpenRequests) {
        throw clickHouseError(
          202,
          'TOO_MANY_SIMULTANEOUS_QUERIES',
          `Too many simultaneous queries: ${openRequests}`,
        );
      }
      const parsed = parseRequest(request, url.searchParams, await readBody(request, maxBodyBytes));
      if (parsed === undefined) return sendText(response, 200, 'Ok.\n');
      const result = await run(parsed, response);
      await sendResult(request, response, parsed, result);
    } catch (error) {
      if (response.destroyed) return;
      const text = messageOf(error);
      const code = codeOfText(text);
      if (code === 0) logger.error({ err: error, queryId }, 'ClickHouse endpoint: request failed');
      if (response.headersSent) return void response.destroy();
      if (code !== 0) response.setHeader('X-ClickHouse-Exception-Code', code);
      // The rest of an unread body would be parsed as the next request.
      if (!request.complete) response.setHeader('Connection', 'close');
      sendText(response, httpStatusOf(code), `${text}\n`);
    } finally {
      openRequests--;
    }
  }

  async function run(parsed: ParsedRequest, response: ServerResponse): Promise<ChdbResult> {
    const cancelling = new AbortController();
    response.once('close', () => cancelling.abort());
    running.add(cancelling);
    try {
      return await chdb.runAsGuest(
        { ...parsed, settings: { ...defaults, ...parsed.settings } },
        cancelling.signal,
      );
    } catch (error) {
      const nothingToInsert = codeOfText(messageOf(error)) === noDataToInsert && isInsert(parsed.sql);
      if (nothingToInsert) return { bytes: new Uint8Array(), elapsed: 0, rowsRead: 0, bytesRead: 0 };
      throw error;
    } finally {
      running.delete(cancelling);
    }
  }

  const server = createServer(
    { maxHeaderSize: maxHeaderBytes, keepAliveTimeout: 10_000 },
    (request, response) => {
      answer(request, response).catch((error: unknown) => {
        logger.error({ err: error }, 'ClickHouse endpoint: request failed');
        response.destroy();
      });
    },
  );
  const { port, stop } = await serve(server, {
    host,
    port: options.port,
    name: 'ClickHouse endpoint',
    setting: options.portSetting ?? 'port',
  });
  return {
    port,
    stop: async () => {
      const impatience = setTimeout(() => {
        for (const cancelling of running) cancelling.abort();
      }, stopGraceMs);
      await stop();
      clearTimeout(impatience);
    },
  };
}

async function sendResult(
  request: IncomingMessage,
  response: ServerResponse,
  parsed: ParsedRequest,
  result: ChdbResult,
): Promise<void> {
  const format = formatOf(parsed.sql) ?? parsed.format;
  response.setHeader('Content-Type', contentTypeOf(format));
  response.setHeader('X-ClickHouse-Format', format);
  response.setHeader('X-ClickHouse-Timezone', timeZone);
  response.setHeader('X-ClickHouse-Summary', JSON.stringify(summaryOf(parsed, result)));
  const compressor = parsed.compressResponse ? compressorFor(request) : undefined;
  const body = compressor === undefined ? result.bytes : await compressor.compress(result.bytes);
  if (compressor !== undefined) response.setHeader('Content-Encoding', compressor.encoding);
  response.setHeader('Content-Length', body.byteLength);
  response.end(request.method === 'HEAD' ? undefined : body);
}

/**
 * Numbers as text, as ClickHouse has them. Without written_rows for an insert, since chDB does not count
 * them.
 */
function summaryOf(parsed: ParsedRequest, result: ChdbResult): Record<string, string> {
  return {
    read_rows: String(result.rowsRead),
    read_bytes: String(result.bytesRead),
    ...(isInsert(parsed.sql) ? {} : { written_rows: '0', written_bytes: '0' }),
    total_rows_to_read: '0',
    result_rows: String(result.rowsRead),
    result_bytes: String(result.bytes.byteLength),
    elapsed_ns: String(Math.round(result.elapsed * 1e9)),
  };
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain; charset=UTF-8');
  response.end(text);
}

import type { IncomingMessage } from 'node:http';
import type { ChdbQuery } from './chdb.js';
import { clickHouseError } from './http-errors.js';

export interface ParsedRequest extends ChdbQuery {
  /** Used when the SQL has no FORMAT clause. */
  format: string;
  compressResponse: boolean;
}

// Parameters that are not passed on as settings: those that are read here, credentials, and the server's own,
// which have no effect when the whole result is buffered.
const ignored =
  /^(?:readonly|user|password|quota_key|query_id|query|database|default_format|stacktrace|session_id|client_protocol_version|close_session|session_timeout|session_check|buffer_size|wait_end_of_query|add_http_cors_header|send_progress_in_http_headers|enable_http_compression|http_\w+)$/;
const notServed = new Set(['role', 'compress', 'decompress']);

/**
 * Reads the statement from the URL's parameters and the body, as ClickHouse does: the query is the parameter
 * `query` followed by the body, every unknown parameter a setting, `param_<name>` a query parameter. GET
 * can't write: it is `readonly` 2 unless it asks for 1.
 *
 * @returns `undefined` for a GET without a query, which ClickHouse answers with "Ok."
 */
export function parseRequest(
  request: IncomingMessage,
  parameters: URLSearchParams,
  body: Buffer,
): ParsedRequest | undefined {
  if (/^multipart\//i.test(request.headers['content-type'] ?? '')) {
    throw clickHouseError(48, 'NOT_IMPLEMENTED', 'Multipart bodies are not served by the embedded endpoint');
  }
  const text = decodeText(body);
  const query = parameters.get('query') ?? '';
  if (query.trim() === '' && text.trim() === '') {
    if (request.method !== 'POST') return undefined;
    throw clickHouseError(62, 'SYNTAX_ERROR', 'Syntax error: Empty query');
  }
  const settings: Record<string, string> = {};
  const params: Record<string, string> = {};
  for (const [name, value] of parameters) {
    if (name.startsWith('param_')) params[name.slice('param_'.length)] = value;
    else if (notServed.has(name) && value !== '' && value !== '0') {
      throw clickHouseError(
        48,
        'NOT_IMPLEMENTED',
        `Parameter ${name} is not served by the embedded endpoint`,
      );
    } else if (!notServed.has(name) && !ignored.test(name)) settings[name] = value;
  }
  const readonly = parameters.get('readonly') ?? '0';
  if (!/^[012]$/.test(readonly))
    throw clickHouseError(72, 'CANNOT_PARSE_NUMBER', `readonly is 0, 1 or 2, not '${readonly}'`);
  // Last, since no setting can be changed after it.
  settings['readonly'] = request.method === 'POST' || readonly === '1' ? readonly : '2';
  const database = parameters.get('database') ?? headerOf(request, 'x-clickhouse-database');
  return {
    ...(isInsert(query) ? { sql: query, rows: text } : { sql: joinQuery(query, text) }),
    params,
    settings,
    format: parameters.get('default_format') ?? headerOf(request, 'x-clickhouse-format') ?? 'TabSeparated',
    compressResponse: parameters.get('enable_http_compression') === '1',
    ...(database === undefined || database === '' ? {} : { database }),
  };
}

function joinQuery(query: string, body: string): string {
  if (query === '') return body;
  return body === '' ? query : `${query}\n${body}`;
}

function decodeText(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw clickHouseError(
      48,
      'NOT_IMPLEMENTED',
      'The embedded endpoint takes UTF-8 text only: insert rows as JSONEachRow, CSV or TabSeparated (clickhouse-connect: raw_insert)',
    );
  }
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : undefined;
}

/** Returns the format in a query's FORMAT clause. */
export function formatOf(sql: string): string | undefined {
  return /\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[^;]*)?;?\s*$/i.exec(sql.slice(-2000))?.[1];
}

export function isInsert(sql: string): boolean {
  return /^\s*INSERT\b/i.test(sql);
}

/** Formats whose rows are not text. */
export const binaryFormats =
  /^(?:RowBinary|Native|Parquet|Arrow|ORC|Avro|MsgPack|Protobuf|CapnProto|BSON|Npy)/i;

const contentTypes: [pattern: RegExp, type: string][] = [
  [/^JSON(?:\w*EachRow\w*|Lines)$|^NDJSON$/i, 'application/x-ndjson; charset=UTF-8'],
  [/^JSON/i, 'application/json; charset=UTF-8'],
  [/^CSV/i, 'text/csv; charset=UTF-8'],
  [/^(?:TSV|TabSeparated)/i, 'text/tab-separated-values; charset=UTF-8'],
  [binaryFormats, 'application/octet-stream'],
];

/** Returns the content type of a format, as ClickHouse's output formats declare it. */
export function contentTypeOf(format: string): string {
  return contentTypes.find(([pattern]) => pattern.test(format))?.[1] ?? 'text/plain; charset=UTF-8';
}

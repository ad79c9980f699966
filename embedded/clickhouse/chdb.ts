import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { ClickHouseClientConfigOptions } from '@clickhouse/client';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { Semaphore } from '../../platform/semaphore.js';

/** What the official client wants of a backend. */
export type ClickHouseConnection = NonNullable<ClickHouseClientConfigOptions['connection']>;

/** The parts of chdb that are used here, spelled out because the package is optional and may be absent at compile time. */
interface NativeConnection extends ClickHouseConnection {
  readonly chdb: { queryAsync(sql: string, options?: { format?: string }): Promise<NativeResult> };
}
interface NativeResult {
  readonly elapsed: number;
  readonly rowsRead: number;
  readonly bytesRead: number;
  bytes(): Uint8Array;
}
interface NativeModules {
  createChdbConnection: (options: { path: string }) => NativeConnection;
  drainPending: () => Promise<void>;
}

export interface ChdbQuery {
  sql: string;
  /** Format of the result when the SQL has no FORMAT clause. Default `TabSeparated`. */
  format?: string;
  database?: string;
  /** Settings for this query only. */
  settings?: Readonly<Record<string, string>>;
  /** Values of `{name:Type}` placeholders in ClickHouse's escaped text form, as `param_name=` has them in a URL. */
  params?: Readonly<Record<string, string>>;
}

export interface ChdbResult {
  bytes: Uint8Array;
  /** Seconds. */
  elapsed: number;
  rowsRead: number;
  bytesRead: number;
}

// A native call holds one of the four libuv threads that file access in the whole process shares, for as long as it
// runs (measured: four long queries delay an fs.stat until they end). So at most three at once, and of these at most
// two for guests: a heavy query from outside stops neither the application's own nor the broker's files.
const concurrentCalls = 3;
const concurrentGuestCalls = 2;

/**
 * The embedded ClickHouse engine (chDB) on one data directory; a process can have one. Every call gets a connection
 * of its own (0.5 ms), so neither settings nor parameters nor the current database of one call reach another: on a
 * shared chDB connection they do.
 */
export class Chdb {
  readonly dataDir: string;
  readonly #modules: NativeModules;
  /** Keeps the engine up while no call has a connection. */
  readonly #anchor: NativeConnection;
  readonly #calls = new Semaphore(concurrentCalls);
  readonly #guestCalls = new Semaphore(concurrentGuestCalls);
  #closing: Promise<void> | undefined;

  private constructor(dataDir: string, modules: NativeModules, anchor: NativeConnection) {
    this.dataDir = dataDir;
    this.#modules = modules;
    this.#anchor = anchor;
  }

  /**
   * @throws {MillraceError} `CHDB_MISSING` when the optional package is not installed or has no build for this
   * machine; `CHDB_OPEN_FAILED` when the directory is in use by another process or can't be written.
   */
  static async open(dataDir: string): Promise<Chdb> {
    const path = resolve(dataDir);
    const modules = await importChdb();
    try {
      return new Chdb(path, modules, modules.createChdbConnection({ path }));
    } catch (cause) {
      throw new MillraceError(
        'CHDB_OPEN_FAILED',
        `The embedded ClickHouse could not open ${path} (${messageOf(cause)}). If another Millrace runs on this folder, stop it; else check that the folder can be written.`,
        { cause },
      );
    }
  }

  /**
   * Runs a query from outside the application: waits for one of two places, and leaves one to the application.
   *
   * @param signal - cancels the query, unless it has a `log_comment` of its own: that setting is how it is found.
   * @throws ClickHouse's own error as chDB gives it, its text starting with `Code: <number>.`
   */
  runAsGuest(query: ChdbQuery, signal: AbortSignal): Promise<ChdbResult> {
    return this.#guestCalls.use(async () => {
      signal.throwIfAborted();
      const tag = randomUUID();
      const cancel = () => void this.#cancel(tag);
      signal.addEventListener('abort', cancel);
      try {
        const settings = { log_comment: tag, ...query.settings };
        return await this.#lend((connection) => runQuery(connection, { ...query, settings }));
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    });
  }

  /** Takes no place, or it would wait for what it is to cancel. */
  async #cancel(tag: string): Promise<void> {
    try {
      const connection = this.#modules.createChdbConnection({ path: this.dataDir });
      try {
        await connection.chdb.queryAsync(
          `KILL QUERY WHERE Settings['log_comment'] = ${quoteString(tag)} ASYNC`,
        );
      } finally {
        await connection.close();
      }
    } catch {
      // Then the query runs to its end, or to its time limit.
    }
  }

  /** A backend for the official client. Closing the client closes the engine. */
  connection(): ClickHouseConnection {
    return {
      query: (params) => this.#serve(params, (connection, call) => connection.query(call)),
      insert: (params) => this.#serve(params, (connection, call) => connection.insert(call)),
      command: (params) => this.#serve(params, (connection, call) => connection.command(call)),
      exec: (params) => this.#serve(params, (connection, call) => connection.exec(call)),
      ping: (params) => this.#lend((connection) => connection.ping(params)),
      close: () => this.close(),
    };
  }

  /** Waits for running calls and releases the data directory. */
  close(): Promise<void> {
    this.#closing ??= this.#release();
    return this.#closing;
  }

  async #release(): Promise<void> {
    await this.#calls.whenIdle();
    await this.#anchor.close();
    await this.#modules.drainPending();
  }

  /** A native call can't be interrupted: when its caller gives up, it keeps its place until it really ends. */
  async #serve<P extends { abort_signal?: AbortSignal }, T>(
    params: P,
    call: (connection: NativeConnection, params: P) => Promise<T>,
  ): Promise<T> {
    const signal = params.abort_signal;
    const work = this.#lend((connection) => {
      signal?.throwIfAborted();
      return call(connection, { ...params, abort_signal: undefined });
    });
    return signal === undefined ? await work : await orAborted(work, signal);
  }

  #lend<T>(work: (connection: NativeConnection) => Promise<T>): Promise<T> {
    return this.#calls.use(async () => {
      if (this.#closing !== undefined)
        throw new MillraceError('CHDB_CLOSED', 'The embedded ClickHouse is closed.');
      const connection = this.#modules.createChdbConnection({ path: this.dataDir });
      try {
        return await work(connection);
      } finally {
        await connection.close();
      }
    });
  }
}

async function runQuery(connection: NativeConnection, query: ChdbQuery): Promise<ChdbResult> {
  const { chdb } = connection;
  if (query.database !== undefined) await chdb.queryAsync(`USE ${quoteIdentifier(query.database)}`);
  const assignments = [
    ...Object.entries(query.params ?? {}).map(
      ([name, value]) => `param_${checkedName(name)}=${quoteString(value)}`,
    ),
    ...Object.entries(query.settings ?? {}).map(
      ([name, value]) => `${checkedName(name)}=${quoteString(value)}`,
    ),
  ];
  if (assignments.length > 0) await chdb.queryAsync(`SET ${assignments.join(', ')}`);
  await refuseSecondStatement(chdb, query.sql);
  const result = await chdb.queryAsync(query.sql, { format: query.format ?? 'TabSeparated' });
  return {
    bytes: result.bytes(),
    elapsed: result.elapsed,
    rowsRead: result.rowsRead,
    bytesRead: result.bytesRead,
  };
}

/**
 * A server takes one statement per request, chDB would run them all. Its parser decides, asked only when there is
 * something after a semicolon; what follows INSERT is data, which may have semicolons.
 */
async function refuseSecondStatement(chdb: NativeConnection['chdb'], sql: string): Promise<void> {
  if (!/;\s*\S/.test(sql) || /^\s*INSERT\b/i.test(sql)) return;
  await chdb.queryAsync(`SELECT formatQuery(${quoteString(sql)})`);
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const settled = new AbortController();
  try {
    return await Promise.race([work, rejectOnAbort(signal, settled.signal)]);
  } finally {
    settled.abort();
  }
}

async function rejectOnAbort(signal: AbortSignal, stopListening: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort', { signal: stopListening });
  throw signal.reason;
}

async function importChdb(): Promise<NativeModules> {
  // Names in variables, or compiling would need the optional package.
  const [connectionModule, rootModule]: [string, string] = ['chdb/connection', 'chdb'];
  try {
    const { createChdbConnection }: Pick<NativeModules, 'createChdbConnection'> = await import(
      connectionModule
    );
    const { drainPending }: Pick<NativeModules, 'drainPending'> = await import(rootModule);
    return { createChdbConnection, drainPending };
  } catch (cause) {
    throw new MillraceError(
      'CHDB_MISSING',
      `The embedded ClickHouse (package chdb) can't be loaded on ${process.platform}-${process.arch}: ${messageOf(cause)}. ` +
        'It runs on Linux with glibc and on macOS: install it there with "npm install --include=optional". ' +
        'Elsewhere set CLICKHOUSE_URL to a ClickHouse server.',
      { cause },
    );
  }
}

function quoteString(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`;
}

function quoteIdentifier(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

function checkedName(name: string): string {
  if (/^[A-Za-z_]\w*$/.test(name)) return name;
  throw new Error(`Code: 115. DB::Exception: Setting ${name} is not a valid name. (UNKNOWN_SETTING)`);
}

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { ClickHouseClientConfigOptions } from '@clickhouse/client';
import type { ArrowColumn, ColumnInsert, InsertColumns } from '../../platform/column-insert.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { Mutex } from '../../platform/mutex.js';
import { Semaphore } from '../../platform/semaphore.js';
import type { SqlSource } from '../../platform/sql-sources.js';
import { withEngineConfig } from './engine-config.js';
import { clickHouseError, codeOfText } from './http-errors.js';
import { formatOfRows, isAboutQueries, mayReadFiles, refuseStatement } from './statement.js';

/** The backend interface of the official client, and the way for columns beside it. */
export type ClickHouseConnection = NonNullable<ClickHouseClientConfigOptions['connection']> & {
  insertColumns: InsertColumns;
};

/**
 * The used parts of chdb, declared here because the package is optional and may be absent at compile time.
 */
interface NativeConnection extends Omit<ClickHouseConnection, 'insertColumns'> {
  readonly chdb: { queryAsync(sql: string, options?: { format?: string }): Promise<NativeResult> };
}
interface NativeResult {
  readonly elapsed: number;
  readonly rowsRead: number;
  readonly bytesRead: number;
  bytes(): Uint8Array;
}
/**
 * chDB's engine for its durable objects: the only one with a configuration and a classification of
 * statements.
 */
interface NativeEngine {
  start(options: { dataPath: string; backupsAllowedPath: string }): Promise<void>;
  analyze(sql: string, database: string): Promise<{ statementCount: number; queryClass: number }>;
  close(): Promise<void>;
}
/** What {@link NativeConnection} is made of. */
interface NativeSession {
  readonly connection: unknown;
  queryAsync(sql: string): Promise<NativeResult>;
  close(): void;
}
interface NativeModules {
  createChdbConnection: (options: { path: string }) => NativeConnection;
  ChdbNodeEngine: new (options: { extraArgs: string[] }) => NativeEngine;
  drainPending: () => Promise<void>;
  Session: new (path: string) => NativeSession;
  /** Makes columns readable as `arrowstream('<name>')`, once, on one connection. */
  _arrowRegisterColumns: (connection: unknown, name: string, columns: readonly ArrowColumn[]) => void;
  _arrowUnregister: (connection: unknown, name: string) => void;
}

export interface ChdbQuery {
  sql: string;
  /** The text after an INSERT: its rows, or the rest of the statement. */
  rows?: string;
  /** Format of the result when the SQL has no FORMAT clause. Default `TabSeparated`. */
  format?: string;
  database?: string;
  /** Settings for this query only. */
  settings?: Readonly<Record<string, string>>;
  /**
   * Values of `{name:Type}` placeholders in ClickHouse's escaped text form, as `param_name=` has them in a
   * URL.
   */
  params?: Readonly<Record<string, string>>;
}

export interface ChdbResult {
  bytes: Uint8Array;
  /** Seconds. */
  elapsed: number;
  rowsRead: number;
  bytesRead: number;
}

// A running native call occupies one of the four libuv threads that the whole process shares for file access
// (measured: four long queries delay an fs.stat until they end). So at most three run at once, and at most
// two of these for guests: a heavy external query blocks neither the application's own queries nor the
// broker's files. The fourth is for guests' short queries, which list and end queries.
const concurrentCalls = 3;
const concurrentGuestCalls = 2;
const maxSecondsAboutQueries = '10';
/**
 * The engine ends rows at a blank line. It treats the text after it as a statement, unless it is a comment.
 */
const goesOnAfterBlankLine = /\n\n\s*(?:--|#|\/\*)/;
const isKillSync = /^(KILL QUERY .*) SYNC\b/;

/**
 * Marks a guest's query so that it can be found for cancellation: chDB takes no query id. The setting names a
 * table for another language than SQL, and so has no effect.
 */
const tagSetting = 'promql_table';

/**
 * The embedded ClickHouse engine (chDB) on one data directory; a process can have one. Every call gets a
 * separate connection (0.5 ms), so that settings, parameters and the current database of one call do not
 * affect another, as they do on a shared chDB connection.
 */
export class Chdb {
  readonly dataDir: string;
  readonly #sources: readonly SqlSource[];
  readonly #modules: NativeModules;
  /** Keeps the engine up while no call has a connection. */
  readonly #anchor: NativeEngine | undefined;
  readonly #calls = new Semaphore(concurrentCalls);
  readonly #guestCalls = new Semaphore(concurrentGuestCalls);
  readonly #callsAboutQueries = new Mutex();
  #closing: Promise<void> | undefined;

  private constructor(
    dataDir: string,
    sources: readonly SqlSource[],
    modules: NativeModules,
    anchor?: NativeEngine,
  ) {
    this.dataDir = dataDir;
    this.#sources = sources;
    this.#modules = modules;
    this.#anchor = anchor;
  }

  /**
   * @param sources - external sources that SQL may access. Default none.
   * @throws {MillraceError} `CHDB_MISSING` when the optional package is not installed or has no build for
   *   this machine; `CHDB_OPEN_FAILED` when the directory is in use by another process or can't be written.
   */
  static async open(dataDir: string, sources: readonly SqlSource[] = []): Promise<Chdb> {
    const path = resolve(dataDir);
    const modules = await importChdb();
    try {
      return await withEngineConfig(sources, async (file) => {
        const engine = new modules.ChdbNodeEngine({ extraArgs: [`--config-file=${file}`] });
        await engine.start({ dataPath: path, backupsAllowedPath: path });
        return new Chdb(path, sources, modules, engine);
      });
    } catch (cause) {
      throw new MillraceError(
        'CHDB_OPEN_FAILED',
        `The embedded ClickHouse could not open ${path} (${messageOf(cause)}). If another Millrace runs on this folder, stop it; else check that the folder can be written.`,
        { cause },
      );
    }
  }

  /**
   * Returns a backend for the official client in another thread, on the engine that this process has opened.
   * It loads the package with the first call. From then on the thread must not end before the engine is
   * closed: the package then closes the connections of all threads.
   */
  static share(dataDir: string): ClickHouseConnection {
    let opened: Promise<ClickHouseConnection> | undefined;
    const open = (): Promise<ClickHouseConnection> => {
      opened ??= importChdb().then((modules) => new Chdb(resolve(dataDir), [], modules).connection());
      return opened;
    };
    return {
      query: async (params) => (await open()).query(params),
      insert: async (params) => (await open()).insert(params),
      insertColumns: async (...insert) => (await open()).insertColumns(...insert),
      command: async (params) => (await open()).command(params),
      exec: async (params) => (await open()).exec(params),
      ping: async (params) => (await open()).ping(params),
      close: async () => (await opened)?.close(),
    };
  }

  /**
   * Runs an external query: waits for one of two slots, and leaves one to the application. Queries that list
   * or end queries have a separate slot. Statements that access anything outside the engine's tables are
   * refused.
   *
   * @param signal - cancels the query.
   * @throws ClickHouse's own error as chDB gives it, its text starting with `Code: <number>.`
   */
  async runAsGuest(query: ChdbQuery, signal: AbortSignal): Promise<ChdbResult> {
    const { aboutQueries, statement } = await this.#examine(query);
    const places = aboutQueries ? this.#callsAboutQueries : this.#guestCalls;
    return places.run(async () => {
      signal.throwIfAborted();
      const tag = randomUUID();
      const cancel = () => void this.#cancel(tag);
      signal.addEventListener('abort', cancel);
      try {
        const settings = {
          ...statement.settings,
          ...(aboutQueries ? { max_execution_time: maxSecondsAboutQueries } : {}),
          [tagSetting]: tag,
        };
        const run = (connection: NativeConnection) => runQuery(connection, { ...statement, settings });
        return await (aboutQueries ? this.#connect(run) : this.#lend(run));
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    });
  }

  /**
   * Parses a guest's query with the engine's own parser. Takes no slot, since it is short and selects the
   * slot.
   */
  async #examine(query: ChdbQuery): Promise<{ aboutQueries: boolean; statement: ChdbQuery }> {
    const { rows = '', ...rest } = query;
    const head = rows === '' ? undefined : await this.#canonical(query.sql).catch(() => undefined);
    const rowsFormat = head === undefined ? undefined : formatOfRows(head);
    const sql = rows === '' ? query.sql : `${query.sql}\n${rows}`;
    const canonical = rowsFormat === undefined || head === undefined ? await this.#canonical(sql) : head;
    const format = formatOfRows(canonical);
    const isValues = /^values$/i.test(format ?? '');
    if (this.#anchor === undefined) throw closed();
    const analysis = await this.#anchor.analyze(sql, 'default');
    if (
      format !== undefined &&
      !isValues &&
      (analysis.statementCount !== 1 || goesOnAfterBlankLine.test(sql))
    )
      throw clickHouseError(
        62,
        'SYNTAX_ERROR',
        `Multi-statements are not allowed, and after a blank line in rows of ${format} another one would begin: leave such lines out, or send JSONEachRow with \\n in its texts`,
      );
    refuseStatement(
      { canonical, class: analysis.queryClass, count: analysis.statementCount },
      { readOnly: (query.settings?.['readonly'] ?? '0') !== '0', sources: this.#sources },
    );
    const settings = { ...query.settings, implicit_select: '0' };
    if (!isValues || this.#sources.includes('FILE') || !mayReadFiles(sql))
      return {
        aboutQueries: isAboutQueries(canonical),
        // chDB's SYNC keeps waiting when the query is gone.
        statement: {
          ...rest,
          sql: isKillSync.test(canonical) ? canonical.replace(isKillSync, '$1 ASYNC') : sql,
          settings,
        },
      };
    if (canonical.includes('input_format_values_')) {
      throw clickHouseError(497, 'ACCESS_DENIED', 'Expressions that read files are not served');
    }
    const plain = {
      input_format_values_interpret_expressions: '0',
      input_format_values_deduce_templates_of_expressions: '0',
    };
    return {
      aboutQueries: false,
      statement: { ...rest, sql, settings: { ...plain, ...settings, ...plain } },
    };
  }

  /** @throws ClickHouse's SYNTAX_ERROR, also for a second statement. */
  async #canonical(sql: string): Promise<string> {
    const query = `SELECT formatQuerySingleLine(${quoteString(sql)}) SETTINGS implicit_select = 0, max_query_size = 0`;
    const result = await this.#connect(({ chdb }) => chdb.queryAsync(query, { format: 'RawBLOB' }));
    return Buffer.from(result.bytes()).toString();
  }

  /** Takes no slot, or it would wait for the query that it should cancel. */
  async #cancel(tag: string): Promise<void> {
    try {
      await this.#connect(({ chdb }) =>
        chdb.queryAsync(`KILL QUERY WHERE Settings[${quoteString(tagSetting)}] = ${quoteString(tag)} ASYNC`),
      );
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
      insertColumns: (insert) => this.#calls.run(() => this.#insertColumns(insert)),
      close: () => this.close(),
    };
  }

  /** Waits for running calls and releases the data directory. */
  close(): Promise<void> {
    this.#closing ??= this.#release();
    return this.#closing;
  }

  async #release(): Promise<void> {
    await Promise.all([this.#calls.whenIdle(), this.#callsAboutQueries.whenIdle()]);
    await this.#anchor?.close();
    await this.#modules.drainPending();
  }

  /** A native call can't be interrupted: when its caller gives up, it keeps its slot until it really ends. */
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
    return this.#calls.run(() => this.#connect(work));
  }

  /**
   * The engine tokenizes a statement with its rows before it parses them, which takes most of the time of an
   * insert.
   */
  async #insertColumns({ table, columns, settings }: ColumnInsert): Promise<void> {
    if (this.#closing !== undefined) throw closed();
    const { Session, _arrowRegisterColumns: register, _arrowUnregister: unregister } = this.#modules;
    const session = new Session(this.dataDir);
    const name = randomUUID();
    try {
      register(session.connection, name, columns);
      try {
        const names = columns.map((column) => quoteIdentifier(column.name)).join(', ');
        await session.queryAsync(
          `INSERT INTO ${table} (${names}) SETTINGS ${assign(settings)} SELECT * FROM arrowstream(${quoteString(name)})`,
        );
      } finally {
        unregister(session.connection, name);
      }
    } catch (error) {
      throw withCode(error);
    } finally {
      session.close();
    }
  }

  async #connect<T>(work: (connection: NativeConnection) => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw closed();
    const connection = this.#modules.createChdbConnection({ path: this.dataDir });
    try {
      return await work(connection);
    } finally {
      await connection.close();
    }
  }
}

function closed(): MillraceError {
  return new MillraceError('CHDB_CLOSED', 'The embedded ClickHouse is closed.');
}

async function runQuery(connection: NativeConnection, query: ChdbQuery): Promise<ChdbResult> {
  const { chdb } = connection;
  if (query.database !== undefined) await chdb.queryAsync(`USE ${quoteIdentifier(query.database)}`);
  const assignments = assign(query.settings ?? {}, query.params);
  if (assignments !== '') await chdb.queryAsync(`SET ${assignments}`);
  const result = await chdb.queryAsync(query.sql, { format: query.format ?? 'TabSeparated' });
  return {
    bytes: result.bytes(),
    elapsed: result.elapsed,
    rowsRead: result.rowsRead,
    bytesRead: result.bytesRead,
  };
}

/** Returns settings, and values of placeholders, as SQL. */
function assign(
  settings: Readonly<Record<string, string | number>>,
  params: Readonly<Record<string, string>> = {},
): string {
  const all = [
    ...Object.entries(params).map(([name, value]) => [`param_${checkedName(name)}`, value] as const),
    ...Object.entries(settings).map(([name, value]) => [checkedName(name), String(value)] as const),
  ];
  return all.map(([name, value]) => `${name}=${quoteString(value)}`).join(', ');
}

/** Returns an error of the engine with its number, as the official client shows it. */
function withCode(error: unknown): unknown {
  const code = codeOfText(messageOf(error));
  return code === 0
    ? error
    : Object.assign(new Error(messageOf(error), { cause: error }), { code: String(code) });
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
  // Names in variables: literals would make the compiler require the optional package.
  const [connectionModule, engineModule, rootModule]: [string, string, string] = [
    'chdb/connection',
    'chdb/durable/node',
    'chdb',
  ];
  try {
    const { createChdbConnection }: Pick<NativeModules, 'createChdbConnection'> = await import(
      connectionModule
    );
    const { ChdbNodeEngine }: Pick<NativeModules, 'ChdbNodeEngine'> = await import(engineModule);
    const root: { default: Omit<NativeModules, 'createChdbConnection' | 'ChdbNodeEngine'> } = await import(
      rootModule
    );
    return { ...root.default, createChdbConnection, ChdbNodeEngine };
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

import { type DecimalColumns, knownDecimals } from '../formats/examine.js';
import type { BatchOptions } from '../formats/batches.js';
import { Semaphore } from '../../../platform/semaphore.js';
import { fileFormats } from '../formats/detect-format.js';
import { type AddedValues, type FileFormat, type ParsedRow, toValues } from '../formats/file-format.js';
import { maxJobRows } from '../job.js';
import { type Opened, ParserThread, type RowMessage } from './parser-thread.js';

/** Number of threads, shared by jobs and requests. */
const maxThreads = 4;
/**
 * How long an idle thread is kept. A thread takes a tenth of a second to start, and keeps memory of a large
 * workbook until it ends.
 */
const maxIdleMs = 10_000;

export type OpenOptions = {
  /** Ends the thread when it aborts. */
  signal?: AbortSignal;
} & (
  | { format: FileFormat['name'] }
  /** The client's name for the file, which helps to detect its format. */
  | { name: string }
);

/**
 * Parses files in worker threads. The event loop stays free meanwhile, and a file that takes too much memory
 * ends its thread, not the process. A thread has one file at a time, and is kept for some seconds for the
 * next one. When all are busy, files wait.
 */
export class FileParser {
  readonly #maxHeapMb: number;
  readonly #threads = new Set<ParserThread>();
  readonly #idle = new Map<ParserThread, NodeJS.Timeout>();
  readonly #slots = new Semaphore(maxThreads);
  #isClosed = false;

  /** @param maxHeapMb - of one thread: more than the largest allowed workbook needs. Default 512. */
  constructor({ maxHeapMb = 512 }: { maxHeapMb?: number } = {}) {
    this.#maxHeapMb = maxHeapMb;
  }

  /**
   * Opens a file for `use`, and closes it afterwards.
   *
   * @throws MillraceError `FILE_INVALID` for a file of an unknown format, that is damaged or takes too much
   *   memory; errors of the file system and of `use`; the reason of `signal` when it aborts; an Error when
   *   the thread ends.
   */
  read<Result>(
    path: string,
    options: OpenOptions,
    use: (file: ParsedFile) => Promise<Result> | Result,
  ): Promise<Result> {
    return this.#slots.run(async () => {
      const { signal } = options;
      signal?.throwIfAborted();
      const thread = this.#takeThread();
      const stop = (): void => void thread.stop();
      signal?.addEventListener('abort', stop);
      try {
        const format = 'format' in options ? options.format : undefined;
        const name = 'name' in options ? options.name : '';
        const { opened } = await thread.call('opened', { open: path, format, name });
        const result = await use(new ParsedFile(thread, opened));
        await thread.call('closed', { close: true });
        this.#keep(thread);
        return result;
      } catch (error) {
        await thread.stop();
        // The thread was ended on purpose.
        signal?.throwIfAborted();
        throw error;
      } finally {
        signal?.removeEventListener('abort', stop);
      }
    });
  }

  /** Ends all threads, including busy ones. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#idle.values()) clearTimeout(timer);
    await Promise.all([...this.#threads].map((thread) => thread.stop()));
  }

  #takeThread(): ParserThread {
    if (this.#isClosed) throw new Error('The parser of files is closed.');
    for (const [thread, timer] of this.#idle) {
      clearTimeout(timer);
      this.#idle.delete(thread);
      return thread;
    }
    const thread = new ParserThread(this.#maxHeapMb, () => {
      clearTimeout(this.#idle.get(thread));
      this.#idle.delete(thread);
      this.#threads.delete(thread);
    });
    this.#threads.add(thread);
    return thread;
  }

  #keep(thread: ParserThread): void {
    const stop = (): void => {
      this.#idle.delete(thread);
      void thread.stop();
    };
    this.#idle.set(thread, setTimeout(stop, maxIdleMs));
  }
}

/** A file that is open in a worker thread. One pass over it at a time. */
export class ParsedFile {
  readonly format: FileFormat;
  /** As in {@link InputFile}. */
  readonly columns: readonly string[] | undefined;
  readonly pointsAreDecimal: boolean | undefined;
  readonly #thread: ParserThread;

  constructor(thread: ParserThread, { format, columns, pointsAreDecimal }: Opened) {
    this.format = fileFormats[format];
    this.columns = columns;
    this.pointsAreDecimal = pointsAreDecimal;
    this.#thread = thread;
  }

  /** Reads the whole file. @throws MillraceError `FILE_INVALID` if it is damaged, or has too many rows. */
  async examine(): Promise<{ rows: number; decimals: DecimalColumns }> {
    return (await this.#thread.call('examined', { examine: maxJobRows })).examined;
  }

  /**
   * Returns the columns with decimal points; reads the file if its format doesn't determine them. @throws as
   * {@link examine}.
   */
  async decimals(): Promise<DecimalColumns> {
    return knownDecimals(this) ?? (await this.examine()).decimals;
  }

  /** Reads rows in batches, prefetching one. @throws MillraceError `FILE_INVALID`. */
  async *rows(read: BatchOptions): AsyncGenerator<ParsedRow[]> {
    let { rows } = await this.#thread.call('rows', { read });
    while (rows !== undefined) {
      yield rows.map((row) => this.#toRow(row));
      ({ rows } = await this.#thread.call('rows', { next: undefined }));
    }
  }

  /**
   * Writes a file of the same format, with added columns.
   *
   * @param added - their names.
   * @param valuesOf - returns the values of a batch of rows.
   * @throws errors of `valuesOf` and the file system; MillraceError `FILE_INVALID`.
   */
  async write(
    path: string,
    { added, maxRows }: { added: readonly string[]; maxRows: number },
    valuesOf: (rows: ParsedRow[]) => Promise<AddedValues[]>,
  ): Promise<void> {
    let { rows } = await this.#thread.call('rows', { write: path, added, maxRows });
    while (rows !== undefined) {
      const next = await valuesOf(rows.map((row) => this.#toRow(row)));
      ({ rows } = await this.#thread.call('rows', { next }));
    }
  }

  #toRow(row: RowMessage): ParsedRow {
    if ('problem' in row) return { values: {}, problem: row.problem };
    return { values: 'cells' in row ? toValues(this.columns ?? [], row.cells) : row.values };
  }
}

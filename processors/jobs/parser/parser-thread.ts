import { Worker } from 'node:worker_threads';
import { MillraceError, messageOf } from '../../../platform/errors.js';
import type { BatchOptions } from '../formats/batches.js';
import type { DecimalColumns } from '../formats/examine.js';
import {
  type AddedValues,
  type Cell,
  type FileFormat,
  fileInvalid,
  type ParsedRow,
} from '../formats/file-format.js';

/**
 * A row in its shortest form: the cells of a csv or xlsx file in the order of its columns, the object of a
 * line of JSON.
 */
export type RowMessage = { cells: readonly Cell[] } | { values: ParsedRow['values'] } | { problem: string };

/** Requests to the thread; each has one reply. */
export type Request =
  /** Without a format it is detected, with the help of the client's name for the file. */
  | { open: string; format: FileFormat['name'] | undefined; name: string }
  /** With the maximum number of rows of the file. */
  | { examine: number }
  /** Begins a pass over the rows, and requests its first batch. */
  | { read: BatchOptions }
  | { write: string; added: readonly string[]; maxRows: number }
  /** Requests the next batch, with the added values of the last one. */
  | { next: AddedValues[] | undefined }
  | { close: true };

export type Reply =
  | { opened: Opened }
  | { examined: { rows: number; decimals: DecimalColumns } }
  /** `undefined`: there are no more, and a result is written. */
  | { rows: RowMessage[] | undefined }
  | { closed: true }
  | { fileInvalid: string }
  | { error: unknown; properties: object };

export interface Opened {
  format: FileFormat['name'];
  columns: readonly string[] | undefined;
  pointsAreDecimal: boolean | undefined;
}

interface Call {
  resolve: (reply: Reply) => void;
  reject: (error: unknown) => void;
}

type ReplyOf<Key extends string> = Extract<Reply, Record<Key, unknown>>;

/** A worker thread that parses files, one at a time. */
export class ParserThread {
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  #call: Call | undefined;
  #death: Error | undefined;

  /**
   * Starts the thread.
   *
   * @param maxHeapMb - more memory ends the thread.
   * @param onExit - called when it has ended.
   * @throws MillraceError `INTERNAL`, retriable, when the process can't have another thread.
   */
  constructor(maxHeapMb: number, onExit: () => void) {
    this.#worker = startWorker(maxHeapMb);
    this.#worker.on('message', (reply: Reply) => this.#settle((call) => call.resolve(reply)));
    this.#exited = new Promise((resolve) => {
      this.#worker.on('error', (error: NodeJS.ErrnoException) => (this.#death = toDeath(error, maxHeapMb)));
      this.#worker.on('exit', () => {
        this.#death ??= new Error('The thread that parsed the file has ended.');
        onExit();
        this.#settle((call) => call.reject(this.#death));
        resolve();
      });
    });
  }

  /** @throws MillraceError `FILE_INVALID`; errors of the file system; an Error when the thread ends. */
  async call<Key extends string>(key: Key, request: Request): Promise<ReplyOf<Key>> {
    const reply = await new Promise<Reply>((resolve, reject) => {
      if (this.#death !== undefined) return reject(this.#death);
      this.#call = { resolve, reject };
      this.#worker.postMessage(request, []);
    });
    if ('fileInvalid' in reply) throw fileInvalid(reply.fileInvalid);
    if ('error' in reply)
      throw Object.assign(new Error(messageOf(reply.error), { cause: reply.error }), reply.properties);
    if (!(key in reply)) throw new Error(`The parser replied ${Object.keys(reply).join()} to ${key}.`);
    return reply as ReplyOf<Key>;
  }

  /** Ends the thread, whatever its state. */
  async stop(): Promise<void> {
    await this.#worker.terminate();
    await this.#exited;
  }

  #settle(settle: (call: Call) => void): void {
    const call = this.#call;
    this.#call = undefined;
    if (call !== undefined) settle(call);
  }
}

function startWorker(maxHeapMb: number): Worker {
  try {
    return new Worker(new URL('./parser-worker.js', import.meta.url), {
      name: 'file parser',
      resourceLimits: { maxOldGenerationSizeMb: maxHeapMb },
      execArgv: [], // The process's own flags (--input-type, --inspect-brk) do not apply to it.
    });
  } catch (error) {
    const problem = `No thread could be started to parse a file: ${messageOf(error)}. Give the process more memory or threads.`;
    throw new MillraceError('INTERNAL', problem, { retriable: true, cause: error });
  }
}

function toDeath(error: NodeJS.ErrnoException, maxHeapMb: number): Error {
  if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
  return fileInvalid(`The file takes more than ${maxHeapMb} MB of memory. Split it, or send csv.`, error);
}

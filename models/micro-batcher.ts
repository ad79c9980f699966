import { MillraceError } from '../platform/errors.js';
import type { ModelOutput } from './outputs.js';
import type { ModelRow } from './tensors.js';

/** Result of a row: the model's answer, or an error. */
export type RowResult = ModelOutput | MillraceError;

/** Calls a model with consecutive rows. Resolves to one result per row. */
export type PredictRows = (rows: readonly ModelRow[]) => Promise<readonly RowResult[]>;

export interface MicroBatcherOptions {
  /** Maximum rows per model call. A single larger request is still one call. */
  maxRows: number;
  /**
   * Maximum time a row waits for others, in milliseconds. 0 waits only for rows of the same turn of the event
   * loop.
   */
  maxDelayMs: number;
  /** Maximum number of concurrent model calls. Further rows wait. */
  maxInFlight: number;
  /** Called after each model call. */
  onBatch?(rows: number, seconds: number): void;
}

interface Request {
  rows: readonly ModelRow[];
  resolve: (results: RowResult[]) => void;
  reject: (error: unknown) => void;
}

/**
 * Batches rows of concurrent callers into one model call, which costs little more than a call with one row.
 * Sends a batch when it is full, when its first row has waited `maxDelayMs`, or when a call ends, but never
 * while `maxInFlight` calls run.
 */
export class MicroBatcher {
  readonly #predict: PredictRows;
  readonly #options: MicroBatcherOptions;
  #waiting: Request[] = [];
  #waitingRows = 0;
  #inFlight = 0;
  #timer: NodeJS.Timeout | NodeJS.Immediate | undefined;

  constructor(predict: PredictRows, options: MicroBatcherOptions) {
    this.#predict = predict;
    this.#options = options;
  }

  /**
   * Returns results in the order of `rows`. If the model fails, halves the batch until the failing row is
   * alone, so that only this row gets the error.
   *
   * @throws a retriable error of the model, for example if its worker died. It affects all rows.
   */
  predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    if (rows.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rows, resolve, reject });
      this.#waitingRows += rows.length;
      if (this.#waitingRows >= this.#options.maxRows) this.#flush();
      else this.#timer ??= this.#schedule();
    });
  }

  #schedule(): NodeJS.Timeout | NodeJS.Immediate {
    const { maxDelayMs } = this.#options;
    return maxDelayMs === 0 ? setImmediate(() => this.#flush()) : setTimeout(() => this.#flush(), maxDelayMs);
  }

  #flush(): void {
    clearTimeout(this.#timer as NodeJS.Timeout | undefined);
    clearImmediate(this.#timer as NodeJS.Immediate | undefined);
    this.#timer = undefined;
    while (this.#waiting.length > 0 && this.#inFlight < this.#options.maxInFlight) {
      this.#inFlight += 1;
      void this.#run(this.#takeBatch()).finally(() => {
        this.#inFlight -= 1;
        this.#flush();
      });
    }
  }

  #takeBatch(): Request[] {
    let size = 0;
    let taken = 0;
    for (const request of this.#waiting) {
      if (taken > 0 && size + request.rows.length > this.#options.maxRows) break;
      size += request.rows.length;
      taken += 1;
    }
    this.#waitingRows -= size;
    return this.#waiting.splice(0, taken);
  }

  async #run(batch: Request[]): Promise<void> {
    try {
      const results = await this.#predictIsolating(batch.flatMap((request) => request.rows));
      let from = 0;
      for (const { rows, resolve } of batch) resolve(results.slice(from, (from += rows.length)));
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }

  async #predictIsolating(rows: readonly ModelRow[]): Promise<readonly RowResult[]> {
    try {
      const started = performance.now();
      const results = await this.#predict(rows);
      this.#options.onBatch?.(rows.length, (performance.now() - started) / 1000);
      return results;
    } catch (error) {
      if (!(error instanceof MillraceError) || error.retriable) throw error;
      if (rows.length === 1) return [error];
      const middle = rows.length >> 1;
      const first = await this.#predictIsolating(rows.slice(0, middle));
      return first.concat(await this.#predictIsolating(rows.slice(middle)));
    }
  }
}

import { type Batch, insertBatch, newBatch } from '../../analytics/insert.js';
import type { MillraceError } from '../../platform/errors.js';
import type { StreamRecord } from '../../streams/records.js';
import { PlainPredictions } from './plain-predictions.js';
import type { SinkOptions } from './sink.js';

/** Maximum bytes of the values in a batch. */
const maxBytes = 128 * 1024 * 1024;
/** A batch of more is not kept for the next one. */
const maxSpareBytes = 16 * 1024 * 1024;

interface Inserts {
  /** Whether a record is a prediction to store. */
  stores(record: StreamRecord): boolean;
  /** Runs an insert of records. @returns the error if ClickHouse refuses a row. */
  run(
    records: readonly StreamRecord[],
    insert: (token: string) => Promise<void>,
  ): Promise<MillraceError | undefined>;
}

/** Stores plain predictions (see {@link PlainPredictions}), which nearly all are. */
export class PlainStore {
  readonly #options: Pick<SinkOptions, 'analytics' | 'serde' | 'prediction'>;
  readonly #inserts: Inserts;
  readonly #plain: PlainPredictions;
  readonly #spare: Batch[] = [];

  constructor(options: Pick<SinkOptions, 'analytics' | 'serde' | 'prediction'>, inserts: Inserts) {
    this.#options = options;
    this.#inserts = inserts;
    this.#plain = new PlainPredictions(options.prediction);
  }

  /**
   * Stores the plain predictions among records.
   *
   * @returns the records that are not stored: all, if ClickHouse refuses a row.
   */
  async store(records: readonly StreamRecord[]): Promise<readonly StreamRecord[]> {
    const { analytics, serde, prediction } = this.#options;
    const batch = this.#spare.pop() ?? newBatch(analytics, this.#plain.columns);
    const plain: StreamRecord[] = [];
    const others: StreamRecord[] = [];
    let bytes = 0;
    for (const record of records) {
      const { value } = record;
      const isOwn = value !== null && this.#inserts.stores(record) && serde.isOwn(value, prediction.type);
      if (
        (isOwn === true || (await isOwn)) &&
        value !== null &&
        bytes + value.length <= maxBytes &&
        this.#plain.add(value, batch)
      ) {
        plain.push(record);
        bytes += value.length;
      } else {
        others.push(record);
      }
    }
    if (plain.length > 0) {
      if (!batch.isUtf8()) return records;
      const refusal = await this.#inserts.run(plain, (token) =>
        insertBatch(analytics, 'predictions', batch, token),
      );
      if (refusal !== undefined) return records;
    }
    if (bytes <= maxSpareBytes) {
      batch.clear();
      this.#spare.push(batch);
    }
    return others;
  }
}

import type { InputRow } from './file-format.js';

/** Characters of the rows that are in memory together; one row may have some millions. */
const maxBatchText = 2_000_000;

export interface BatchOptions {
  /** Rows to skip first. Default 0. */
  skip?: number;
  /** Rows of a batch, or fewer if they are large. */
  maxRows: number;
}

/** Yields the rows of `source` in batches. */
export async function* inBatches(
  source: AsyncIterable<readonly InputRow[]>,
  { skip = 0, maxRows }: BatchOptions,
): AsyncGenerator<InputRow[]> {
  let batch: InputRow[] = [];
  let text = 0;
  let number = 0;
  for await (const rows of source) {
    for (const row of rows) {
      if (number++ < skip) continue;
      text += textLength(row);
      if (batch.push(row) < maxRows && text < maxBatchText) continue;
      yield batch;
      batch = [];
      text = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

/** Returns the number of characters of a row. */
export function textLength({ original }: InputRow): number {
  if (typeof original === 'string') return original.length;
  return original.reduce<number>((sum, cell) => sum + (typeof cell === 'string' ? cell.length : 0), 0);
}

import { textLength } from './batches.js';
import type { InputFile, InputRow } from './file-format.js';

/** Characters of the rows that are kept; a cell counts as some of them. */
const maxText = 2_000_000;
const textPerCell = 8;

/**
 * Keeps the rows of a small file after its first whole pass: a job passes over it three times, to check it,
 * to publish its rows and to write the result.
 */
export function remember(file: InputFile): InputFile {
  let known: InputRow[][] | undefined;
  const read = async function* (): AsyncGenerator<InputRow[]> {
    const kept: InputRow[][] = [];
    let text = 0;
    for await (const rows of file.rows()) {
      for (const row of rows) text += textLength(row) + textPerCell * row.original.length;
      if (text <= maxText) kept.push(rows);
      else kept.length = 0;
      yield rows;
    }
    if (text <= maxText) known = kept;
  };
  const replay = async function* (batches: InputRow[][]): AsyncGenerator<InputRow[]> {
    yield* batches;
  };
  return { ...file, rows: () => (known === undefined ? read() : replay(known)), close: () => file.close() };
}

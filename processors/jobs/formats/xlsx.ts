import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import {
  addedCell,
  type AddedValue,
  type AddedValues,
  type Cell,
  type FileFormat,
  freeNames,
  type InputRow,
  isUnusable,
  toColumns,
  toRow,
  type UnusableCell,
} from './file-format.js';
import { maxCellLength, openSheet, type Sheet } from './xlsx-sheet.js';

/**
 * The xlsx format: the first sheet of an Excel workbook. Cells keep their values; formats, formulas and other
 * sheets are not in the result.
 */
export const xlsx: FileFormat = {
  name: 'xlsx',
  contentType: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  typed: false,
  open: async (path) => {
    const sheet = await openSheet(path);
    try {
      const columns = await readHeader(sheet);
      return { columns, rows: () => readRows(sheet, columns), close: () => sheet.close() };
    } catch (error) {
      sheet.close();
      throw error;
    }
  },
  write: async (path, { columns = [] }, added, rows) => {
    // Loaded when needed: loading doubles the start time of a parser thread.
    const { writeXlsxStream } = await import('hucre/xlsx');
    const header = [...columns, ...freeNames(added, (name) => columns.includes(name))];
    const sheet = writeXlsxStream(toSheet(header, added, rows), { name: 'Sheet1' });
    await pipeline(Readable.fromWeb(sheet as ReadableStream), createWriteStream(path));
  },
};

async function readHeader(sheet: Sheet): Promise<string[]> {
  for await (const rows of sheet.rows()) return toColumns(rows[0]);
  return toColumns(undefined);
}

async function* readRows(sheet: Sheet, columns: readonly string[]): AsyncGenerator<InputRow[]> {
  let isFirst = true;
  for await (const cells of sheet.rows()) {
    const rows = (isFirst ? cells.slice(1) : cells).flatMap((row) => toRow(columns, row) ?? []);
    isFirst = false;
    if (rows.length > 0) yield rows;
  }
}

type SheetCell = Exclude<Cell, UnusableCell>;

async function* toSheet(
  header: readonly string[],
  added: readonly string[],
  rows: AsyncIterable<readonly (readonly [InputRow, AddedValues])[]>,
): AsyncGenerator<SheetCell[]> {
  yield header.map(toSheetCell);
  for await (const batch of rows) {
    for (const [{ original }, values] of batch) {
      const own = typeof original === 'string' ? [original] : original;
      yield [...own.map(toSheetCell), ...added.map((name) => toSheetCell(fittingCell(values[name])))];
    }
  }
}

/** A workbook with a longer text can't be opened. */
function fittingCell(value: AddedValue | undefined): string | number | null {
  const cell = addedCell(value);
  return typeof cell === 'string' && cell.length > maxCellLength
    ? `too long for a cell: ${cell.length} characters. Look the prediction up by its event_id.`
    : cell;
}

/** Text that looks like an escaped character (ECMA-376 part 1, 22.9.2.19) would be read as that character. */
function toSheetCell(cell: Cell): SheetCell {
  const value = isUnusable(cell) ? cell.text : cell;
  return typeof value === 'string' ? value.replaceAll(/_(?=x[0-9A-Fa-f]{4}_)/g, '_x005F_') : value;
}

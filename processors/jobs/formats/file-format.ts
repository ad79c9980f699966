import { MillraceError } from '../../../platform/errors.js';

/** A cell without a usable value, such as `#N/A`. A plain object, since cells are copied from one thread to another. */
export interface UnusableCell {
  /** The text in the file, which goes into the result unchanged. */
  readonly text: string;
  /** Follows the column's name: `holds the error #N/A`. */
  readonly problem: string;
}

/** Of a csv file only text; `null` is an empty cell. A Date is a date cell's, read as UTC. */
export type Cell = string | number | boolean | Date | UnusableCell | null;

/** What an event is made of. */
export interface ParsedRow {
  /** Values by column name. Empty when the row can't be read. */
  values: Readonly<Record<string, unknown>>;
  /** Why no event can be made of the row. */
  problem?: string;
}

/** A row of a file. */
export interface InputRow extends ParsedRow {
  /** What goes back into the result: cells by position, or the line of a jsonl file. */
  original: readonly Cell[] | string;
}

/** An open file whose header fits its format. */
export interface InputFile {
  /** Names in their order, trimmed, empty where a column has none. `undefined` where each row names its own (jsonl). */
  columns: readonly string[] | undefined;
  /** Whether `90.000` in text is ninety: of files whose separator is the comma, which is then not before decimals. */
  pointsAreDecimal?: boolean | undefined;
  /**
   * Reads from the beginning, a batch of rows at a time, as often as it is called. Rows without any value are left out.
   *
   * @throws MillraceError `FILE_INVALID` with the place where the file is damaged; what the file system throws.
   */
  rows(): AsyncIterable<InputRow[]>;
  close(): void;
}

/** What the result has beside a row. */
export type AddedValues = Readonly<Record<string, string | number | null>>;

/** A kind of file that events come in and results go back in. */
export interface FileFormat {
  name: 'xlsx' | 'csv' | 'jsonl';
  contentType: string;
  /** Whether values have the types that events need; else they are made from text where the contract asks for others. */
  typed: boolean;
  /** The caller closes the file. @throws MillraceError `FILE_INVALID` with the reason; what the file system throws. */
  open(path: string): Promise<InputFile>;
  /** Writes the rows of `input` with the added values behind them, in the order in which they come. */
  write(
    path: string,
    input: InputFile,
    added: readonly string[],
    rows: AsyncIterable<readonly (readonly [InputRow, AddedValues])[]>,
  ): Promise<void>;
}

/** Longest line of a csv or jsonl file, and longest text of a workbook without a tag in it, characters. */
export const maxRecordLength = 1_000_000;
export const maxColumns = 1_000;

/**
 * Names for added columns that the file does not have itself: one that is taken gets `millrace_` before it, as often as
 * it takes.
 */
export function freeNames(added: readonly string[], isTaken: (name: string) => boolean): string[] {
  return added.map((name) => {
    let free = name;
    while (isTaken(free)) free = `millrace_${free}`;
    return free;
  });
}

/** @throws MillraceError `FILE_INVALID` when there are too many. */
export function toColumns(cells: readonly Cell[] | undefined): string[] {
  if (cells === undefined) throw fileInvalid('The file is empty. Its first row must name the columns.');
  const names = cells.map((cell) => cellText(cell).trim());
  while (names.at(-1) === '') names.pop();
  if (names.length <= maxColumns) return names;
  throw fileInvalid(`The file has ${names.length} columns; up to ${maxColumns} are read.`);
}

/** Cells by position as a row, or nothing when all are empty. */
export function toRow(columns: readonly string[], cells: readonly Cell[]): InputRow | undefined {
  let filled = cells.length;
  while (filled > 0 && isEmpty(cells[filled - 1])) filled--;
  if (filled === 0) return undefined;
  const original = columns.map((_, index) => cells[index] ?? null);
  if (filled > columns.length) {
    const problem = `has a value in column ${filled}, and the header names ${columns.length}: the values too many are left out`;
    return { values: {}, problem, original };
  }
  return { values: toValues(columns, original), original };
}

/** Cells by the names of their columns. Of columns with one name the first counts. */
export function toValues(columns: readonly string[], cells: readonly Cell[]): Record<string, unknown> {
  const values: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [index, name] of columns.entries()) {
    if (name !== '' && !(name in values)) values[name] = cells[index];
  }
  return values;
}

export function isUnusable(cell: Cell | undefined): cell is UnusableCell {
  return typeof cell === 'object' && cell !== null && !(cell instanceof Date);
}

export function cellText(cell: Cell | undefined): string {
  if (cell === null || cell === undefined) return '';
  if (cell instanceof Date) return dateText(cell);
  return isUnusable(cell) ? cell.text : String(cell);
}

export function fileInvalid(message: string, cause?: unknown): MillraceError {
  return new MillraceError('FILE_INVALID', message, cause === undefined ? {} : { cause });
}

/** Whether an error came from the file system, not from what the file holds. */
export function isFileSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

function isEmpty(cell: Cell | undefined): boolean {
  return cell === null || cell === undefined || cell === '';
}

/** `2026-01-31`, or `2026-01-31T12:00:00` when it has a time of day: spreadsheets know no zone. */
function dateText(date: Date): string {
  const text = date.toISOString().slice(0, 19);
  return text.endsWith('T00:00:00') ? text.slice(0, 10) : text;
}

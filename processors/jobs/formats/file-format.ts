import { MillraceError } from '../../../platform/errors.js';

/** A cell without a usable value, such as `#N/A`. A plain object, since cells are copied between threads. */
export interface UnusableCell {
  /** The text in the file, which is written to the result unchanged. */
  readonly text: string;
  /** Follows the column's name: `holds the error #N/A`. */
  readonly problem: string;
}

/** A csv file has only text; `null` is an empty cell. A Date is a date cell's, read as UTC. */
export type Cell = string | number | boolean | Date | UnusableCell | null;

/** Input of an event. */
export interface ParsedRow {
  /** Values by column name. Empty when the row is unreadable. */
  values: Readonly<Record<string, unknown>>;
  /** Why the row can't become an event. */
  problem?: string;
}

/** A row of a file. */
export interface InputRow extends ParsedRow {
  /** Content for the result: cells by position, or the line of a jsonl file. */
  original: readonly Cell[] | string;
}

/** An open file with a valid header. */
export interface InputFile {
  /**
   * Names in their order, trimmed, empty for a column without one. `undefined` if each row has its own
   * (jsonl).
   */
  columns: readonly string[] | undefined;
  /**
   * Whether the text `90.000` is ninety: in files whose separator is the comma, which then can't separate
   * decimals.
   */
  pointsAreDecimal?: boolean | undefined;
  /**
   * Reads from the beginning at each call, a batch of rows at a time. Empty rows are left out.
   *
   * @throws MillraceError `FILE_INVALID` with the position of the damage; errors of the file system.
   */
  rows(): AsyncIterable<InputRow[]>;
  close(): void;
}

/** An added value. An object is JSON text in a cell, and an object in a line of JSON. */
export type AddedValue = string | number | Readonly<Record<string, unknown>> | null;

/** Added values of a row in the result. */
export type AddedValues = Readonly<Record<string, AddedValue>>;

/** A file format for events and results. */
export interface FileFormat {
  name: 'xlsx' | 'csv' | 'jsonl';
  contentType: string;
  /** Whether values have the types that events need; else text is converted to the contract's types. */
  typed: boolean;
  /**
   * Opens a file, which the caller closes. @throws MillraceError `FILE_INVALID` with the reason; errors of
   * the file system.
   */
  open(path: string): Promise<InputFile>;
  /** Writes the rows of `input` with the added values behind them, in their order. */
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
 * Returns unique names for added columns: a name that the file has is prefixed by `millrace_`, repeatedly if
 * needed.
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

/** Converts cells by position to a row, or nothing when all are empty. */
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

/** Maps cells by the names of their columns. The first of several columns with one name counts. */
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

/** Returns an added value for a cell. */
export function addedCell(value: AddedValue | undefined): string | number | null {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : (value ?? null);
}

export function fileInvalid(message: string, cause?: unknown): MillraceError {
  return new MillraceError('FILE_INVALID', message, cause === undefined ? {} : { cause });
}

/** Whether an error came from the file system, not from the file's content. */
export function isFileSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

function isEmpty(cell: Cell | undefined): boolean {
  return cell === null || cell === undefined || cell === '';
}

/**
 * Formats a date as `2026-01-31`, or `2026-01-31T12:00:00` if it has a time of day: spreadsheets have no time
 * zones.
 */
function dateText(date: Date): string {
  const text = date.toISOString().slice(0, 19);
  return text.endsWith('T00:00:00') ? text.slice(0, 10) : text;
}

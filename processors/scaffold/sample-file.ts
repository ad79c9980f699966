import { stat } from 'node:fs/promises';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';
import { csv } from '../jobs/formats/csv.js';
import { jsonl } from '../jobs/formats/jsonl.js';
import { segmentsOf } from './field-names.js';

/** A row of a sample: values by the path of their column. */
export interface SampleRow {
  /** Position in the file, from 1, without the header. */
  number: number;
  values: ReadonlyMap<string, unknown>;
  /** The line of a jsonl file. */
  object?: Readonly<Record<string, unknown>>;
}

/** Rows of a file, with nested values under paths such as `customer.age`. */
export interface Sample {
  file: string;
  /** Paths in the order of the file. Of a list the path of the whole. */
  columns: string[];
  /** The parts of each path. */
  segments: ReadonlyMap<string, readonly string[]>;
  rows: SampleRow[];
  /** Whether values are text, as in csv; else they have the types of JSON. */
  isText: boolean;
}

/** Maximum number of rows that are read. */
const maxRows = 10_000;

/** Reserved in bodies of events: the event's own id. */
export const eventIdColumn = 'event_id';

/**
 * Reads sample rows from a csv file with a header, or a jsonl file with an object per line. Columns
 * `window.0`, `window.1`, … are one list.
 *
 * @throws MillraceError `FILE_UNREADABLE` or `FILE_INVALID`.
 */
export async function readSample(file: string): Promise<Sample> {
  const isText = /\.(?:csv|tsv|txt)$/i.test(file);
  if (!isText && !/\.(?:jsonl|ndjson|json)$/i.test(file)) {
    throw invalid(`${file} must be a .csv file with a header, or a .jsonl file with an object per line`);
  }
  try {
    await stat(file);
  } catch (error) {
    const problem = isSystemError(error, 'ENOENT')
      ? `There is no file ${file}`
      : `Cannot read ${file}: ${messageOf(error)}`;
    throw new MillraceError('FILE_UNREADABLE', `${problem}.`, { cause: error });
  }
  const input = await (isText ? csv : jsonl).open(file);
  const rows: SampleRow[] = [];
  const segments = new Map<string, readonly string[]>();
  try {
    if (input.columns !== undefined) requireUnique(input.columns, file);
    reading: for await (const batch of input.rows()) {
      for (const { values, problem } of batch) {
        const number = rows.length + 1;
        if (problem !== undefined) throw invalid(`Row ${number} of ${file} ${problem}`);
        const flat = new Map<string, unknown>();
        for (const [path, value] of isText ? textCells(values) : leaves(values)) {
          flat.set(path.join('.'), value);
          if (!segments.has(path.join('.'))) segments.set(path.join('.'), path);
        }
        rows.push({ number, values: flat, ...(isText ? {} : { object: values }) });
        if (rows.length === maxRows) break reading;
      }
    }
  } finally {
    input.close();
  }
  if (rows.length === 0)
    throw invalid(`${file} has no rows. A sample has a few rows or more, as the model gets them`);
  return { file, columns: [...segments.keys()], segments, rows, isText };
}

/** Returns why a column that is taken for a name of a column is none, with the columns that there are. */
export function unknownColumn({ file, columns }: Sample, name: string, option: string): MillraceError {
  return invalid(
    `${file} has no column ${name}, which ${option} names. Its columns are ${columns.join(', ')}`,
  );
}

function requireUnique(columns: readonly string[], file: string): void {
  const twice = columns.find((name, index) => name !== '' && columns.indexOf(name) !== index);
  if (twice !== undefined)
    throw invalid(`The header of ${file} names ${twice} twice. Rename one of the columns`);
  if (columns.every((name) => name === '' || Number.isFinite(Number(name)))) {
    throw invalid(
      `The first row of ${file} has no names of columns: ${columns.slice(0, 5).join(', ')}. Add a header`,
    );
  }
}

/**
 * Joins columns `window.0`, `window.1`, … to one list. A column without a name, such as pandas' index, is
 * left out.
 */
function* textCells(values: Readonly<Record<string, unknown>>): Generator<[path: string[], unknown]> {
  const lists = new Map<string, unknown[]>();
  for (const [name, cell] of Object.entries(values)) {
    const [, list, position] = /^(.+)\.(\d{1,5})$/.exec(name) ?? [];
    if (name === '') continue;
    if (list === undefined) yield [segmentsOf(name), cell];
    else lists.set(list, Object.assign(lists.get(list) ?? [], { [Number(position)]: cell }));
  }
  for (const [name, cells] of lists) {
    if (cells.length > 1 && Object.keys(cells).length === cells.length) yield [segmentsOf(name), cells];
    else for (const position of Object.keys(cells)) yield [[`${name}.${position}`], cells[Number(position)]];
  }
}

/** Names the values of an object by their paths. A list is one value. */
function* leaves(
  object: Readonly<Record<string, unknown>>,
  prefix: readonly string[] = [],
): Generator<[path: string[], unknown]> {
  for (const [key, value] of Object.entries(object)) {
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isObject && Object.keys(value).length > 0)
      yield* leaves(value as Record<string, unknown>, [...prefix, key]);
    else yield [[...prefix, key], value];
  }
}

/** Error of a sample file. @param problem - without the full stop. */
export function invalid(problem: string): MillraceError {
  return new MillraceError('FILE_INVALID', `${problem}.`);
}

import { type Dtype, kindOf } from '../../models/tensors.js';
import { numberHint } from '../../schemas/number-text.js';
import { numberText } from '../jobs/formats/examine.js';
import { parseList } from './assign-inputs.js';
import { invalid, type Sample, type SampleRow } from './sample-file.js';

/** What the values of a column are for: an element type of the model, or anything. */
export interface Want {
  dtype: Dtype | undefined;
  isList: boolean;
  /** Whether its texts are encoded as numbers. */
  isEncoded: boolean;
}

/** A JSON value. undefined: the row has none. */
export type Value = unknown;

/** Texts in csv files that stand for nothing, besides an empty cell. Only in columns of numbers. */
const missingTexts = new Set(['', 'nan', 'na', 'n/a', 'null', 'none']);

/**
 * Returns the values of a column with the types that its input needs, one for each row; null where one is
 * missing.
 *
 * @throws MillraceError `FILE_INVALID` with the row of the first value that does not fit.
 */
export function columnValues(sample: Sample, column: string, want: Want): Value[] {
  const raw = sample.rows.map(({ values }) => values.get(column));
  const kind = want.dtype === undefined ? undefined : want.isEncoded ? 'text' : kindOf(want.dtype);
  const typed = sample.isText ? fromText(raw, kind) : raw.map((value) => value ?? null);
  const check = checker(sample, column, want, kind, typed);
  return typed.map((value, index) => {
    const row = sample.rows[index];
    if (row !== undefined) check(value, row);
    return value;
  });
}

function fromText(cells: readonly Value[], kind: string | undefined): Value[] {
  const texts = cells.map((cell) =>
    Array.isArray(cell) ? (cell as Value[]) : typeof cell === 'string' ? cell.trim() : '',
  );
  const lists = texts.some((each) => Array.isArray(each) || each.startsWith('['));
  if (lists)
    return texts.map((each) =>
      Array.isArray(each)
        ? each.map((cell) => fromText([cell], kind)[0])
        : each === ''
          ? null
          : (parseList(each) ?? each),
    );
  const given = texts.filter((each) => typeof each === 'string' && !missingTexts.has(each.toLowerCase()));
  // `007` is a code, and so are digits beyond what JavaScript keeps.
  const areNumbers = given.every(
    (each) =>
      numberText.test(each as string) &&
      (kind === 'number' ||
        (!/^[+-]?0\d/.test(each as string) && Math.abs(Number(each)) <= Number.MAX_SAFE_INTEGER)),
  );
  const areFlags = given.every((each) => /^(?:true|false)$/i.test(each as string));
  const isTextual = kind === 'string' || kind === 'text' || (kind === undefined && !areNumbers && !areFlags);
  return texts.map((each) => {
    const text = String(each);
    if (isTextual) return text === '' ? null : text;
    if (missingTexts.has(text.toLowerCase())) return null;
    if (/^(?:true|false)$/i.test(text) && (areFlags || kind === 'boolean'))
      return text.toLowerCase() === 'true';
    return numberText.test(text) ? Number(text) : text;
  });
}

function checker(
  sample: Sample,
  column: string,
  { dtype, isList }: Want,
  kind: string | undefined,
  all: readonly Value[],
): (value: Value, row: SampleRow) => void {
  if (dtype === undefined) return () => undefined;
  const given = all.filter((value) => value !== null);
  const isText = !isList && given.length > 0 && given.every((value) => typeof value === 'string');
  const check = (value: Value, row: SampleRow): void => {
    if (value === null || value === undefined) return;
    if (isList && Array.isArray(value)) return value.forEach((each: Value) => check(each, row));
    const wholes = dtype.startsWith('int') || dtype.startsWith('uint');
    if (kind === 'number' && typeof value === 'number' && (!wholes || Number.isSafeInteger(value))) return;
    if (kind === 'number' && typeof value === 'boolean') return;
    if (kind === 'boolean' && (typeof value === 'boolean' || value === 0 || value === 1)) return;
    if ((kind === 'string' || kind === 'text') && typeof value === 'string') return;
    throw misfit(sample, column, { value, row, dtype, kind, isText });
  };
  return check;
}

function misfit(
  { file }: Sample,
  column: string,
  {
    value,
    row,
    dtype,
    kind,
    isText,
  }: { value: Value; row: SampleRow; dtype: Dtype; kind: string | undefined; isText: boolean },
): Error {
  const shown = typeof value === 'string' ? `'${value.slice(0, 60)}'` : JSON.stringify(value)?.slice(0, 60);
  if (kind === 'number' && isText) {
    return invalid(
      `The column ${column} of ${file} is text, such as ${shown}, and the graph takes numbers there (${dtype}). ` +
        `Export the whole pipeline with the step that turns texts into numbers, with an input for each column; or give the numbers with --encode ${column}=codes.json, a file such as {"red": 0, "blue": 1}; or, if the column is no input, name it with --label, --key or --prediction`,
    );
  }
  const needed = {
    number: dtype.includes('int') ? 'whole numbers within ±(2^53 - 1)' : 'numbers',
    boolean: 'true or false',
    string: 'text',
    text: 'text',
  }[kind ?? ''];
  return invalid(
    `Row ${row.number} of ${file} has ${shown} in the column ${column}, and the graph takes ${needed} there (${dtype})${numberHint(value)}. Correct the row or leave it out`,
  );
}

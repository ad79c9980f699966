import { isAmbiguousNumber } from '../../../schemas/number-text.js';
import { fileInvalid, type InputFile } from './file-format.js';

/** A digit can be matched in one way only, so matching a cell takes linear time. */
export const numberText = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

/** Columns in which a point separates decimals, or `all`. */
export type DecimalColumns = ReadonlySet<string> | 'all';

/**
 * Returns the decimal columns if the file's format determines them: else {@link examine} finds them in its
 * rows.
 */
export function knownDecimals({
  pointsAreDecimal,
  columns,
}: Pick<InputFile, 'columns' | 'pointsAreDecimal'>): DecimalColumns | undefined {
  if (pointsAreDecimal === true) return 'all';
  return columns === undefined ? new Set() : undefined;
}

/**
 * Reads a whole file: counts its rows, and finds the columns with a text that can only be a decimal, such as
 * `12.5`. There `90.000` is ninety. Elsewhere it may be ninety thousand, unless the file's separator is the
 * comma.
 *
 * @throws MillraceError `FILE_INVALID` if it is damaged, and for more than `maxRows` rows.
 */
export async function examine(
  file: InputFile,
  maxRows: number,
): Promise<{ rows: number; decimals: DecimalColumns }> {
  const known = knownDecimals(file);
  const found = new Set<string>();
  let count = 0;
  for await (const rows of file.rows()) {
    count += rows.length;
    if (count > maxRows) throw fileInvalid(`The file has more than ${maxRows} rows. Split it.`);
    if (known !== undefined) continue;
    for (const { values } of rows)
      for (const name of file.columns ?? []) if (!found.has(name) && isDecimal(values[name])) found.add(name);
  }
  return { rows: count, decimals: known ?? found };
}

function isDecimal(value: unknown): boolean {
  if (typeof value !== 'string' || !value.includes('.')) return false;
  return numberText.test(value.trim()) && !isAmbiguousNumber(value);
}

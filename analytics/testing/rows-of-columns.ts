import type { ArrowColumn } from '../../platform/column-insert.js';

/** Returns the rows in columns, as they are in JSON: times as ISO 8601. */
export function rowsOfColumns(columns: readonly ArrowColumn[]): Record<string, unknown>[] {
  const length = columns[0]?.length ?? 0;
  return Array.from({ length }, (_, row) =>
    Object.fromEntries(columns.map((column) => [column.name, valueAt(column, row)])),
  );
}

function valueAt({ format, buffers: [valid, values, texts] }: ArrowColumn, row: number): unknown {
  if (values === null || values === undefined) throw new Error('A column has no values.');
  if (valid !== null && valid !== undefined && ((valid[row >> 3] ?? 0) & (1 << (row & 7))) === 0) return null;
  if (format === 'u')
    return texts?.subarray(values.readInt32LE(row * 4), values.readInt32LE(row * 4 + 4)).toString();
  if (format === 'g') return values.readDoubleLE(row * 8);
  if (format === 'i') return values.readInt32LE(row * 4);
  const number = Number(values.readBigInt64LE(row * 8));
  return format === 'l' ? number : new Date(number).toISOString();
}

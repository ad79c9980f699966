import { isUtf8 } from 'node:buffer';
import type { ArrowColumn } from '../../platform/column-insert.js';
import type { BatchColumn, RowBatch } from './row-batch.js';

/** Longer texts are copied by a call, shorter ones byte by byte, which then takes less time. */
const longText = 64;
const initialRows = 1024;

/** Rows as columns in Arrow's layout, for an engine in this process: it copies them without parsing. */
export class ColumnBatch implements RowBatch {
  readonly columns: readonly BatchColumn[];
  rows = 0;
  readonly #columns: readonly Column[];
  /** The column of the next value. */
  #next = 0;
  #capacity = initialRows;

  constructor(columns: readonly BatchColumn[]) {
    this.columns = columns;
    this.#columns = columns.map((column) => new Column(column, initialRows));
  }

  text(bytes: Buffer, start: number, end: number): void {
    this.#column().setText(this.rows, bytes, start, end);
  }

  double(value: number): void {
    this.#column().setDouble(this.rows, value);
  }

  integer(value: number): void {
    this.#column().setInteger(this.rows, value);
  }

  time(value: number): void {
    this.#column().setInteger(this.rows, value);
  }

  null(): void {
    this.#column().setNull(this.rows);
  }

  endRow(): void {
    this.#next = 0;
    if (++this.rows < this.#capacity) return;
    this.#capacity *= 2;
    for (const column of this.#columns) column.reserve(this.#capacity);
  }

  dropRow(): void {
    this.#next = 0;
  }

  isUtf8(): boolean {
    return this.#columns.every((column) => column.isUtf8(this.rows));
  }

  clear(): void {
    this.rows = 0;
    this.#next = 0;
  }

  /** The rows, until the batch changes. */
  toArrow(): ArrowColumn[] {
    return this.#columns.map((column) => column.toArrow(this.rows));
  }

  #column(): Column {
    const column = this.#columns[this.#next++];
    if (column === undefined) throw new RangeError(`A row has more than ${this.columns.length} values.`);
    return column;
  }
}

const formats = { text: 'u', double: 'g', int: 'i', long: 'l', time: 'tsm:UTC' };
const widths = { text: 0, double: 8, int: 4, long: 8, time: 8 };

class Column {
  readonly #column: BatchColumn;
  readonly #isText: boolean;
  readonly #isInt: boolean;
  /** Numbers, as halves if they have 64 bits; of texts, where each ends, after a 0. */
  #words: Int32Array<ArrayBuffer>;
  #doubles: Float64Array<ArrayBuffer>;
  /** The bytes of texts. */
  #bytes: Buffer;
  /** A bit for each row that is not null. */
  #valid: Buffer | undefined;

  constructor(column: BatchColumn, capacity: number) {
    this.#column = column;
    this.#isText = column.kind === 'text';
    this.#isInt = column.kind === 'int';
    this.#words = new Int32Array(this.#wordsFor(capacity));
    this.#doubles = new Float64Array(this.#words.buffer, 0, this.#words.length >> 1);
    this.#bytes = Buffer.allocUnsafeSlow(this.#isText ? capacity * 8 : 0);
    this.#valid = column.nullable ? Buffer.alloc(capacity >> 3) : undefined;
  }

  setText(row: number, bytes: Buffer, start: number, end: number): void {
    const words = this.#words;
    let at = words[row] ?? 0;
    const after = at + end - start;
    if (after > this.#bytes.length) this.#bytes = grown(this.#bytes, after * 2);
    const target = this.#bytes;
    if (end - start >= longText) bytes.copy(target, at, start, end);
    else for (let from = start; from < end; from++) target[at++] = bytes[from] ?? 0;
    words[row + 1] = after;
    if (this.#valid !== undefined) this.#setValid(this.#valid, row, true);
  }

  setDouble(row: number, value: number): void {
    this.#doubles[row] = value;
    if (this.#valid !== undefined) this.#setValid(this.#valid, row, true);
  }

  setInteger(row: number, value: number): void {
    if (this.#isInt) {
      this.#words[row] = value;
    } else {
      // Typed arrays take the lowest 32 bits of a number. Arrow's order of bytes is little-endian, as Node's
      // platforms are.
      this.#words[row * 2] = value;
      this.#words[row * 2 + 1] = Math.floor(value / 2 ** 32);
    }
    if (this.#valid !== undefined) this.#setValid(this.#valid, row, true);
  }

  setNull(row: number): void {
    if (this.#valid === undefined) throw new TypeError(`The column ${this.#column.name} takes no null.`);
    if (this.#isText) this.#words[row + 1] = this.#words[row] ?? 0;
    else if (this.#isInt) this.#words[row] = 0;
    else this.#doubles[row] = 0;
    this.#setValid(this.#valid, row, false);
  }

  reserve(capacity: number): void {
    const words = new Int32Array(this.#wordsFor(capacity));
    words.set(this.#words);
    this.#words = words;
    this.#doubles = new Float64Array(words.buffer, 0, words.length >> 1);
    if (this.#valid !== undefined) this.#valid = grown(this.#valid, capacity >> 3);
  }

  isUtf8(rows: number): boolean {
    return !this.#isText || isUtf8(this.#bytes.subarray(0, this.#words[rows]));
  }

  toArrow(rows: number): ArrowColumn {
    const { name, kind } = this.#column;
    const { buffer } = this.#words;
    const numbers = this.#isText
      ? Buffer.from(buffer, 0, (rows + 1) * 4)
      : Buffer.from(buffer, 0, rows * widths[kind]);
    const texts = this.#isText ? [this.#bytes.subarray(0, this.#words[rows])] : [];
    return {
      name,
      format: formats[kind],
      length: rows,
      nullCount: this.#nulls(rows),
      buffers: [this.#valid ?? null, numbers, ...texts],
    };
  }

  #nulls(rows: number): number {
    let nulls = 0;
    if (this.#valid !== undefined)
      for (let row = 0; row < rows; row++)
        if (((this.#valid[row >> 3] ?? 0) & (1 << (row & 7))) === 0) nulls++;
    return nulls;
  }

  #wordsFor(capacity: number): number {
    // Even, to be seen as doubles too.
    return this.#isText ? capacity + 2 : capacity * (this.#isInt ? 1 : 2);
  }

  #setValid(bits: Buffer, row: number, isValid: boolean): void {
    const bit = 1 << (row & 7);
    const byte = bits[row >> 3] ?? 0;
    bits[row >> 3] = isValid ? byte | bit : byte & ~bit;
  }
}

function grown(buffer: Buffer, size: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(size);
  buffer.copy(larger);
  return larger;
}

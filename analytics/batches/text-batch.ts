import { isUtf8 } from 'node:buffer';
import type { BatchColumn, RowBatch } from './row-batch.js';

const [tab, newline, backslash, dot, zero] = [0x09, 0x0a, 0x5c, 0x2e, 0x30];
/** Bytes of a number, a time or a separator, at most. */
const shortBytes = 32;
const maxMinutes = 1_000;

/** Rows as ClickHouse's TabSeparated, which every server reads. */
export class TextBatch implements RowBatch {
  readonly columns: readonly BatchColumn[];
  rows = 0;
  #bytes = Buffer.allocUnsafeSlow(64 * 1024);
  #end = 0;
  #rowStart = 0;
  /** Times to the minute as text: most rows of a batch share a few. */
  readonly #minutes = new Map<number, string>();

  constructor(columns: readonly BatchColumn[]) {
    this.columns = columns;
  }

  text(bytes: Buffer, start: number, end: number): void {
    // Each byte may need a backslash.
    this.#reserve((end - start) * 2 + 1);
    const target = this.#bytes;
    let at = this.#end;
    for (let from = start; from < end; from++) {
      const byte = bytes[from] ?? 0;
      const escape = escapes[byte] ?? 0;
      if (escape !== 0) target[at++] = backslash;
      target[at++] = escape === 0 ? byte : escape;
    }
    target[at++] = tab;
    this.#end = at;
  }

  double(value: number): void {
    this.#ascii(String(value));
  }

  integer(value: number): void {
    this.#ascii(String(value));
  }

  time(value: number): void {
    const minute = Math.floor(value / 60_000);
    let text = this.#minutes.get(minute);
    if (text === undefined) {
      if (this.#minutes.size >= maxMinutes) this.#minutes.clear();
      text = new Date(minute * 60_000).toISOString().slice(0, 17).replace('T', ' ');
      this.#minutes.set(minute, text);
    }
    this.#ascii(text);
    const ms = value - minute * 60_000;
    // In the place of the tab.
    this.#end--;
    this.#digits(Math.floor(ms / 1000), 2);
    this.#bytes[this.#end++] = dot;
    this.#digits(ms % 1000, 3);
    this.#bytes[this.#end++] = tab;
  }

  null(): void {
    this.#ascii('\\N');
  }

  endRow(): void {
    this.#bytes[this.#end - 1] = newline;
    this.#rowStart = this.#end;
    this.rows++;
  }

  dropRow(): void {
    this.#end = this.#rowStart;
  }

  isUtf8(): boolean {
    return isUtf8(this.toBytes());
  }

  clear(): void {
    this.rows = 0;
    this.#end = 0;
    this.#rowStart = 0;
  }

  /** The rows, until the batch changes. */
  toBytes(): Buffer {
    return this.#bytes.subarray(0, this.#rowStart);
  }

  /** Adds a short text without escapes. */
  #ascii(text: string): void {
    this.#reserve(shortBytes);
    const target = this.#bytes;
    let at = this.#end;
    for (let index = 0; index < text.length; index++) target[at++] = text.charCodeAt(index);
    target[at++] = tab;
    this.#end = at;
  }

  #digits(value: number, count: number): void {
    let rest = value;
    this.#end += count;
    for (let at = this.#end - 1; at >= this.#end - count; at--) {
      this.#bytes[at] = zero + (rest % 10);
      rest = (rest / 10) | 0;
    }
  }

  #reserve(length: number): void {
    const needed = this.#end + length + shortBytes;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

/** The letter after the backslash, by byte; 0 for a byte that needs none. */
const escapes = new Uint8Array(256);
for (const [byte, letter] of [
  ['\\', '\\'],
  ['\t', 't'],
  ['\n', 'n'],
  ['\r', 'r'],
  ['\0', '0'],
] as const)
  escapes[byte.charCodeAt(0)] = letter.charCodeAt(0);

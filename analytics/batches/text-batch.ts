import { isUtf8 } from 'node:buffer';
import type { BatchColumn, RowBatch } from './row-batch.js';

const [tab, newline, backslash, space, zero] = [0x09, 0x0a, 0x5c, 0x20, 0x30];
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
      if (byte < space || byte === backslash) {
        const escape = escapes[byte];
        if (escape !== undefined) {
          target[at++] = backslash;
          target[at++] = escape;
          continue;
        }
      }
      target[at++] = byte;
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
    let at = this.#end - 1;
    const target = this.#bytes;
    for (const [index, power] of powers.entries()) {
      if (index === 2) target[at++] = 0x2e;
      target[at++] = zero + (Math.floor(ms / power) % 10);
    }
    target[at++] = tab;
    this.#end = at;
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
    this.#end += this.#bytes.write(text, this.#end, 'latin1');
    this.#bytes[this.#end++] = tab;
  }

  #reserve(length: number): void {
    const needed = this.#end + length + shortBytes;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

/** Seconds and milliseconds, digit by digit. */
const powers = [10_000, 1_000, 100, 10, 1];

/** The letter after the backslash, by byte. */
const escapes: (number | undefined)[] = [];
for (const [byte, letter] of [
  ['\\', '\\'],
  ['\t', 't'],
  ['\n', 'n'],
  ['\r', 'r'],
  ['\0', '0'],
] as const)
  escapes[byte.charCodeAt(0)] = letter.charCodeAt(0);

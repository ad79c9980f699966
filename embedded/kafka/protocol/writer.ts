import { writeInt64 } from './record-batch.js';

/**
 * Writes the Kafka protocol's primitive types. Large byte strings are kept by reference (see {@link
 * recordBytes}) and passed to the socket as separate chunks, so record data is never copied.
 */
export class Writer {
  /** Compact strings, arrays and tagged fields (KIP-482) instead of the classic encodings. */
  flexible = false;
  readonly #chunks: Buffer[] = [];
  #finishedBytes = 0;
  #current: Buffer;
  #position = 0;

  constructor(initialSize = 256) {
    this.#current = Buffer.allocUnsafe(initialSize);
  }

  boolean(value: boolean): void {
    this.int8(value ? 1 : 0);
  }

  int8(value: number): void {
    this.#reserve(1);
    this.#position = this.#current.writeInt8(value, this.#position);
  }

  int16(value: number): void {
    this.#reserve(2);
    this.#position = this.#current.writeInt16BE(value, this.#position);
  }

  int32(value: number): void {
    this.#reserve(4);
    this.#position = this.#current.writeInt32BE(value, this.#position);
  }

  int64(value: number): void {
    this.#reserve(8);
    this.#position = writeInt64(this.#current, value, this.#position);
  }

  unsignedVarint(value: number): void {
    this.#reserve(5);
    let rest = value;
    while (rest >= 0x80) {
      this.#current[this.#position++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#current[this.#position++] = rest;
  }

  string(value: string): void {
    this.nullableString(value);
  }

  nullableString(value: string | null): void {
    const length = value === null ? -1 : Buffer.byteLength(value);
    if (this.flexible) this.unsignedVarint(length + 1);
    else this.int16(length);
    if (value === null) return;
    this.#reserve(length);
    this.#position += this.#current.write(value, this.#position, 'utf8');
  }

  byteString(value: Buffer): void {
    if (this.flexible) this.unsignedVarint(value.length + 1);
    else this.int32(value.length);
    this.bytes(value);
  }

  /** Without a length prefix. */
  bytes(value: Buffer): void {
    this.#reserve(value.length);
    this.#position += value.copy(this.#current, this.#position);
  }

  /** The `records` field: one length, then the given batches back to back, not copied. */
  recordBytes(batches: readonly Buffer[]): void {
    let length = 0;
    for (const batch of batches) length += batch.length;
    if (this.flexible) this.unsignedVarint(length + 1);
    else this.int32(length);
    if (length === 0) return;
    this.#finishChunk();
    for (const batch of batches) this.#chunks.push(batch);
    this.#finishedBytes += length;
    this.#current = Buffer.allocUnsafe(256);
  }

  array<T>(items: readonly T[], element: (item: T) => void): void {
    this.#arrayLength(items.length);
    for (const item of items) element(item);
  }

  nullableArray<T>(items: readonly T[] | null, element: (item: T) => void): void {
    if (items === null) this.#arrayLength(-1);
    else this.array(items, element);
  }

  /** An array of structures: in a flexible version each ends with its tagged fields. */
  structs<T>(items: readonly T[], fields: (item: T) => void): void {
    this.array(items, (item) => {
      fields(item);
      this.tags();
    });
  }

  nullableStructs<T>(items: readonly T[] | null, fields: (item: T) => void): void {
    if (items === null) this.#arrayLength(-1);
    else this.structs(items, fields);
  }

  /** Of 32 hexadecimal digits. */
  uuid(value: string): void {
    this.bytes(Buffer.from(value, 'hex'));
  }

  /** No tagged fields: one zero byte at the end of every structure of a flexible version. */
  tags(): void {
    if (this.flexible) this.int8(0);
  }

  /** Returns all written bytes, in order. The writer must not be used afterwards. */
  finish(): { chunks: Buffer[]; length: number } {
    this.#finishChunk();
    return { chunks: this.#chunks, length: this.#finishedBytes };
  }

  #arrayLength(length: number): void {
    if (this.flexible) this.unsignedVarint(length + 1);
    else this.int32(length);
  }

  #finishChunk(): void {
    if (this.#position === 0) return;
    this.#chunks.push(this.#current.subarray(0, this.#position));
    this.#finishedBytes += this.#position;
    this.#position = 0;
  }

  #reserve(length: number): void {
    if (this.#position + length <= this.#current.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#current.length * 2, this.#position + length));
    this.#current.copy(larger, 0, 0, this.#position);
    this.#current = larger;
  }
}

import { MillraceError } from '../../../platform/errors.js';

/** Maximum elements of all arrays of a request: each takes much more memory than its bytes. */
const maxElements = 200_000;

/**
 * Reads the Kafka protocol's primitive types from one frame. Every read is bounds-checked: a frame that ends
 * too early or declares more elements than it has bytes throws `MALFORMED_REQUEST`, before anything is
 * allocated for it.
 */
export class Reader {
  /** Compact strings, arrays and tagged fields (KIP-482) instead of the classic encodings. */
  flexible = false;
  readonly #bytes: Buffer;
  #position: number;
  #elements = 0;

  constructor(bytes: Buffer, position = 0) {
    this.#bytes = bytes;
    this.#position = position;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  boolean(): boolean {
    return this.int8() !== 0;
  }

  int8(): number {
    return this.#bytes.readInt8(this.#take(1));
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#take(2));
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  /** Offsets, timestamps and producer ids all fit a double; this broker never assigns values beyond 2^53. */
  int64(): number {
    const at = this.#take(8);
    return this.#bytes.readInt32BE(at) * 0x1_0000_0000 + this.#bytes.readUInt32BE(at + 4);
  }

  /** Unsigned base-128 varint of at most 32 bits. */
  unsignedVarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#bytes.readUInt8(this.#take(1));
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw malformed('a varint is longer than 5 bytes');
  }

  string(): string {
    const value = this.nullableString();
    if (value === null) throw malformed('a string that must be set is null');
    return value;
  }

  nullableString(): string | null {
    const length = this.flexible ? this.unsignedVarint() - 1 : this.int16();
    if (length < 0) return null;
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  /** The client id of a request header: an int16-length string in every header version. */
  headerString(): string | null {
    const length = this.int16();
    if (length < 0) return null;
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  byteString(): Buffer {
    return this.nullableBytes() ?? Buffer.alloc(0);
  }

  /** A view into the frame, not a copy. */
  nullableBytes(): Buffer | null {
    const length = this.flexible ? this.unsignedVarint() - 1 : this.int32();
    if (length < 0) return null;
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  array<T>(element: () => T): T[] {
    return this.nullableArray(element) ?? [];
  }

  nullableArray<T>(element: () => T): T[] | null {
    const length = this.flexible ? this.unsignedVarint() - 1 : this.int32();
    if (length < 0) return null;
    if (length > this.remaining)
      throw malformed(`an array announces ${length} elements in ${this.remaining} bytes`);
    this.#elements += length;
    if (this.#elements > maxElements) throw malformed(`its arrays have more than ${maxElements} elements`);
    const items: T[] = [];
    for (let i = 0; i < length; i++) items.push(element());
    return items;
  }

  /** An array of structures: in a flexible version each ends with its tagged fields. */
  structs<T>(fields: () => T): T[] {
    return this.nullableStructs(fields) ?? [];
  }

  nullableStructs<T>(fields: () => T): T[] | null {
    return this.nullableArray(() => {
      const value = fields();
      this.tags();
      return value;
    });
  }

  /** In hexadecimal digits. */
  uuid(): string {
    const start = this.#take(16);
    return this.#bytes.toString('hex', start, start + 16);
  }

  /** Skips the tagged fields at the end of every structure of a flexible version; this broker uses none. */
  tags(): void {
    if (!this.flexible) return;
    const count = this.unsignedVarint();
    for (let i = 0; i < count; i++) {
      this.unsignedVarint();
      this.#take(this.unsignedVarint());
    }
  }

  #take(length: number): number {
    const start = this.#position;
    if (start + length > this.#bytes.length) {
      throw malformed(`it ends ${start + length - this.#bytes.length} bytes too early`);
    }
    this.#position = start + length;
    return start;
  }
}

function malformed(what: string): MillraceError {
  return new MillraceError('MALFORMED_REQUEST', `Cannot decode a Kafka request: ${what}.`);
}

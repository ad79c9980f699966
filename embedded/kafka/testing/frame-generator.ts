import type { Api } from '../protocol/api.js';
import { Reader } from '../protocol/reader.js';
import { Writer } from '../protocol/writer.js';

/** Returns a whole number from 0 up to and without `below`. */
export type Choose = (below: number) => number;

const numbers = [0, 1, -1, 2, 3, 1000];
const texts = ['t', 'g', '', 'PLAIN', 'consumer', 'range', 'cleanup.policy', 'x'.repeat(300)];

/**
 * A reader that invents the requested values, and writes them: an API's decoder so generates a request in
 * exactly the grammar of that version.
 */
class InventingReader extends Reader {
  readonly writer = new Writer();
  readonly #choose: Choose;
  readonly #byteStrings: readonly Buffer[];

  constructor(choose: Choose, byteStrings: readonly Buffer[]) {
    super(Buffer.alloc(0));
    this.#choose = choose;
    this.#byteStrings = byteStrings;
  }

  override boolean(): boolean {
    return this.int8() !== 0;
  }

  override int8(): number {
    const value = this.#choose(3) - 1;
    this.writer.int8(value);
    return value;
  }

  override int16(): number {
    const value = this.#number();
    this.writer.int16(value);
    return value;
  }

  override int32(): number {
    const value = this.#number();
    this.writer.int32(value);
    return value;
  }

  override int64(): number {
    const value = this.#number();
    this.writer.int64(value);
    return value;
  }

  override string(): string {
    const value = texts[this.#choose(texts.length)] ?? '';
    this.writer.string(value);
    return value;
  }

  override nullableString(): string | null {
    if (this.#choose(4) > 0) return this.string();
    this.writer.nullableString(null);
    return null;
  }

  override byteString(): Buffer {
    const value = this.#byteStrings[this.#choose(this.#byteStrings.length)] ?? Buffer.alloc(0);
    this.writer.byteString(value);
    return value;
  }

  override nullableBytes(): Buffer | null {
    return this.byteString();
  }

  override array<T>(element: () => T): T[] {
    const items: T[] = [];
    const length = this.#choose(4);
    this.writer.array(Array.from({ length }), () => items.push(element()));
    return items;
  }

  override nullableArray<T>(element: () => T): T[] | null {
    if (this.#choose(4) > 0) return this.array(element);
    this.writer.nullableArray<T>(null, () => undefined);
    return null;
  }

  override uuid(): string {
    const value = (this.#choose(2) === 0 ? '0' : 'a').repeat(32);
    this.writer.uuid(value);
    return value;
  }

  override tags(): void {
    this.writer.tags();
  }

  #number(): number {
    return numbers[this.#choose(numbers.length)] ?? 0;
  }
}

/**
 * Returns a well-formed frame of an API and version, with its length prefix.
 *
 * @param byteStrings - the value for the grammar's bytes: record batches, tokens, member metadata.
 */
export function inventFrame(
  api: Api,
  version: number,
  choose: Choose,
  byteStrings: readonly Buffer[],
): Buffer {
  const reader = new InventingReader(choose, byteStrings);
  const { writer } = reader;
  writer.int32(0);
  writer.int16(api.key);
  writer.int16(version);
  writer.int32(7);
  writer.nullableString('fuzz');
  reader.flexible = writer.flexible = version >= api.flexibleFrom;
  writer.tags();
  api.decode(reader, version);
  const { chunks, length } = writer.finish();
  const frame = Buffer.concat(chunks);
  frame.writeInt32BE(length - 4, 0);
  return frame;
}

import type { KafkaMessage } from 'kafkajs';
import { MillraceError } from '../platform/errors.js';
import { codecs } from './codecs.js';
import { unreadableHeader } from './records.js';

/** A record as kafkajs' consumer takes it. */
export type FetchedMessage = KafkaMessage & {
  isControlRecord: boolean;
  batchContext: { producerId: string; inTransaction: boolean };
};

/** Bytes of a batch's header, with the count of its records. */
const headerBytes = 61;
const codecMask = 0x07;
const logAppendTimeFlag = 0x08;
const transactionalFlag = 0x10;
const controlFlag = 0x20;
const codecByNumber = [undefined, codecs.GZIP, codecs.Snappy, codecs.LZ4, codecs.ZSTD];

/**
 * Decodes a record batch; kafkajs makes thirty objects for a record with CloudEvents headers.
 *
 * A batch that does not decompress, or to more than is safe, or whose records are not as long as they say, gives
 * stand-ins that say so: else the same fetch would fail for ever, and no record behind the batch would be read.
 *
 * @param batch - the whole of it, laid out as `encodeBatch` says.
 */
export async function decodeBatch(batch: Buffer): Promise<FetchedMessage[]> {
  try {
    const codec = codecByNumber[batch.readInt16BE(21) & codecMask];
    const content = batch.subarray(headerBytes);
    return readRecords(batch, codec === undefined ? content : await codec().decompress(content));
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'CODEC_FAILED') throw error;
    return unreadableRecords(batch, error.message);
  }
}

function readRecords(batch: Buffer, content: Buffer): FetchedMessage[] {
  const attributes = batch.readInt16BE(21);
  const baseOffset = Number(batch.readBigInt64BE(0));
  const baseTimestamp = Number(batch.readBigInt64BE(27));
  const appendTime = (attributes & logAppendTimeFlag) === 0 ? undefined : String(batch.readBigInt64BE(35));
  const isControlRecord = (attributes & controlFlag) !== 0;
  const batchContext = batchContextOf(batch);
  const cursor = new Cursor(content);
  const names: HeaderName[] = [];
  const messages: FetchedMessage[] = [];
  for (let count = batch.readInt32BE(57); count > 0; count--) {
    const end = cursor.varint() + cursor.position;
    cursor.position++;
    const timestamp = baseTimestamp + cursor.varint();
    const offset = baseOffset + cursor.varint();
    const key = cursor.bytes();
    const value = cursor.bytes();
    const headers = readHeaders(cursor, names);
    if (cursor.position !== end) throw malformed();
    messages.push({
      offset: String(offset),
      timestamp: appendTime ?? String(timestamp),
      key,
      value,
      headers,
      attributes: 0,
      isControlRecord,
      batchContext,
    });
  }
  return messages;
}

/** The name of a header and where it was read. Records of one batch mostly have the same headers in the same order. */
interface HeaderName {
  start: number;
  length: number;
  name: string;
}

function readHeaders(cursor: Cursor, names: HeaderName[]): NonNullable<KafkaMessage['headers']> {
  const headers: NonNullable<KafkaMessage['headers']> = new Headers();
  const count = cursor.varint();
  for (let index = 0; index < count; index++) {
    const name = cursor.name(names, index);
    // A header without a value is one of no bytes: nothing here tells the two apart.
    const value = cursor.bytes() ?? Buffer.alloc(0);
    const known = headers[name];
    if (known === undefined) headers[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else headers[name] = [known, value];
  }
  return headers;
}

/** An object without a prototype: a header may have the name `__proto__`. One by `Object.create(null)` is a hash table. */
// oxlint-disable-next-line typescript/no-extraneous-class -- V8 gives instances of a constructor its fast properties
const Headers = class {} as new () => NonNullable<KafkaMessage['headers']>;
Object.setPrototypeOf(Headers.prototype, null);

/** Reads a batch's content from its beginning. @throws MillraceError `CODEC_FAILED` beyond its end. */
class Cursor {
  readonly content: Buffer;
  position = 0;

  constructor(content: Buffer) {
    this.content = content;
  }

  /** Zigzag; in floating point, because a varlong has more than 32 bits. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.content[this.position++];
      if (byte === undefined) throw malformed();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      factor *= 0x80;
    }
  }

  bytes(): Buffer | null {
    const length = this.varint();
    if (length < 0) return null;
    const start = this.position;
    this.position += length;
    if (this.position > this.content.length) throw malformed();
    return this.content.subarray(start, this.position);
  }

  /** @param names - the names read last at each index, to take one from that is the same. */
  name(names: HeaderName[], index: number): string {
    const length = this.varint();
    const start = this.position;
    this.position += length;
    if (length < 0 || this.position > this.content.length) throw malformed();
    const last = names[index];
    if (last !== undefined && last.length === length && this.#isSame(last.start, start, length))
      return last.name;
    const name = this.content.toString('utf8', start, this.position);
    names[index] = { start, length, name };
    return name;
  }

  #isSame(one: number, other: number, length: number): boolean {
    for (let index = 0; index < length; index++)
      if (this.content[one + index] !== this.content[other + index]) return false;
    return true;
  }
}

function malformed(): MillraceError {
  return new MillraceError('CODEC_FAILED', 'The records of a batch are not as long as they say.');
}

/** Stand-ins for the records of a batch that can't be read. */
function unreadableRecords(batch: Buffer, reason: string): FetchedMessage[] {
  const first = batch.readBigInt64BE(0);
  const timestamp = String(batch.readBigInt64BE(27));
  const count = Math.min(batch.readInt32BE(23) + 1, 1_000_000);
  const headers = { [unreadableHeader]: Buffer.from(reason) };
  const batchContext = batchContextOf(batch);
  return Array.from({ length: count }, (_, index) => ({
    offset: String(first + BigInt(index)),
    timestamp,
    key: null,
    value: null,
    headers,
    attributes: 0,
    isControlRecord: false,
    batchContext,
  }));
}

function batchContextOf(batch: Buffer): FetchedMessage['batchContext'] {
  return {
    producerId: String(batch.readBigInt64BE(43)),
    inTransaction: (batch.readInt16BE(21) & transactionalFlag) !== 0,
  };
}

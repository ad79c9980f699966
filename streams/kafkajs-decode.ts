import type { KafkaMessage } from 'kafkajs';
import { maxBatchHeaders, maxBatchRecords } from '../platform/batch-compression.js';
import { crc32c } from '../platform/crc32c.js';
import { MillraceError, messageOf } from '../platform/errors.js';
import { codecs } from './codecs.js';
import { unreadableBytesHeader, unreadableHeader } from './records.js';

/** A record in the form of kafkajs' consumer. */
export type FetchedMessage = KafkaMessage & {
  isControlRecord: boolean;
  batchContext: { producerId: string; inTransaction: boolean };
};

/** Offsets in a batch's header, and its length. */
const crcAt = 17;
const attributesAt = 21;
const countAt = 57;
const headerBytes = 61;
/** Number of bytes kept of an unreadable batch, for diagnosis. */
const unreadableBytes = 16 * 1024;
const codecMask = 0x07;
const logAppendTimeFlag = 0x08;
const transactionalFlag = 0x10;
const controlFlag = 0x20;
const codecByNumber = [undefined, codecs.GZIP, codecs.Snappy, codecs.LZ4, codecs.ZSTD];

/**
 * Decodes a record batch; kafkajs makes thirty objects for a record with CloudEvents headers.
 *
 * The last message always has the last offset of the batch's header; the next batch begins after it. If there
 * is no such record (compaction has removed it), an empty control record takes its place. So a position is
 * never taken from the record contents of a producer.
 *
 * A batch that is damaged, does not decompress, exceeds a safe size, or contradicts its header becomes one
 * message with the header `millrace-unreadable`. Otherwise the same fetch would fail for ever, and no later
 * record would be read.
 *
 * @param batch - the whole of it, in the layout of `encodeBatch`.
 * @param nextOffset - where the next batch begins, if known.
 * @throws MillraceError `LOG_DAMAGED` when the end of the batch is unknown.
 */
export async function decodeBatch(batch: Buffer, nextOffset?: number): Promise<FetchedMessage[]> {
  const baseOffset = Number(batch.readBigInt64BE(0));
  const lastOffset = baseOffset + Math.max(0, batch.readInt32BE(23));
  if (batch.readUInt32BE(crcAt) !== crc32c(batch, attributesAt)) {
    const reason = 'its checksum is not that of its bytes';
    return [unreadable(batch, baseOffset, lastOffsetOfDamaged(baseOffset, lastOffset, nextOffset), reason)];
  }
  try {
    if (batch.readInt32BE(countAt) > maxBatchRecords) {
      throw malformed(
        `it holds ${batch.readInt32BE(countAt)} records, and at most ${maxBatchRecords} are read`,
      );
    }
    const codec = codecByNumber[batch.readInt16BE(attributesAt) & codecMask];
    const content = batch.subarray(headerBytes);
    const messages = readRecords(
      batch,
      codec === undefined ? content : await codec().decompress(content),
      baseOffset,
      lastOffset,
    );
    if (messages.at(-1)?.offset !== String(lastOffset)) messages.push(placeholder(batch, lastOffset));
    return messages;
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'CODEC_FAILED') throw error;
    return [unreadable(batch, baseOffset, lastOffset, messageOf(error))];
  }
}

/**
 * The length itself may be damaged: then the next batch tells its end, and otherwise only a plausible length
 * is used.
 */
function lastOffsetOfDamaged(baseOffset: number, lastOffset: number, nextOffset: number | undefined): number {
  if (nextOffset !== undefined && nextOffset > baseOffset) return nextOffset - 1;
  if (lastOffset - baseOffset < maxBatchRecords) return lastOffset;
  throw new MillraceError(
    'LOG_DAMAGED',
    `The batch at offset ${baseOffset} is damaged, and nothing says where it ends. Restore the partition's files, or move the group's offset behind it.`,
  );
}

function readRecords(
  batch: Buffer,
  content: Buffer,
  baseOffset: number,
  lastOffset: number,
): FetchedMessage[] {
  const attributes = batch.readInt16BE(attributesAt);
  const baseTimestamp = Number(batch.readBigInt64BE(27));
  const appendTime = (attributes & logAppendTimeFlag) === 0 ? undefined : String(batch.readBigInt64BE(35));
  const isControlRecord = (attributes & controlFlag) !== 0;
  const batchContext = batchContextOf(batch);
  const cursor = new Cursor(content);
  const last: LastHeader[] = [];
  const messages: FetchedMessage[] = [];
  let lowest = baseOffset;
  let time = baseTimestamp;
  let timeText = appendTime ?? String(time);
  for (let count = batch.readInt32BE(countAt); count > 0; count--) {
    const end = cursor.varint() + cursor.position;
    cursor.position++;
    const timestamp = baseTimestamp + cursor.varint();
    const offset = baseOffset + cursor.varint();
    // Compaction leaves gaps, and nothing else.
    if (!(offset >= lowest && offset <= lastOffset)) throw malformed('a record has an offset outside of it');
    lowest = offset + 1;
    const key = cursor.bytes();
    const value = cursor.bytes();
    const headers = readHeaders(cursor, last);
    if (cursor.position !== end) throw malformed(wrongLength);
    if (timestamp !== time && appendTime === undefined) timeText = String((time = timestamp));
    messages.push({
      offset: String(offset),
      timestamp: timeText,
      key,
      value,
      headers,
      attributes: 0,
      isControlRecord,
      batchContext,
    });
  }
  if (cursor.position !== content.length) throw malformed('it holds more than the records that it counts');
  return messages;
}

/**
 * The last header at an index, and the positions of its name and value. Records of one batch mostly have the
 * same headers in the same order, and some of them the same values, which they then share.
 */
interface LastHeader {
  name: string;
  nameAt: number;
  nameLength: number;
  value: Buffer;
  valueAt: number;
}

function readHeaders(cursor: Cursor, last: LastHeader[]): NonNullable<KafkaMessage['headers']> {
  const headers: NonNullable<KafkaMessage['headers']> = new Headers();
  const count = cursor.varint();
  cursor.headers += count;
  if (count < 0 || cursor.headers > maxBatchHeaders) {
    throw malformed(`its records have too many headers, and at most ${maxBatchHeaders} are read`);
  }
  for (let index = 0; index < count; index++) {
    const { name, value } = cursor.header(last, index);
    const known = headers[name];
    if (known === undefined) headers[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else headers[name] = [known, value];
  }
  return headers;
}

/**
 * An object without a prototype: a header may have the name `__proto__`. An object by `Object.create(null)`
 * is a slow hash table.
 */
// oxlint-disable-next-line typescript/no-extraneous-class -- V8 gives instances of a constructor its fast properties
const Headers = class {} as new () => NonNullable<KafkaMessage['headers']>;
Object.setPrototypeOf(Headers.prototype, null);
Reflect.deleteProperty(Headers.prototype, 'constructor');

/** Reads a batch's content from its beginning. @throws MillraceError `CODEC_FAILED` beyond its end. */
class Cursor {
  readonly content: Buffer;
  position = 0;
  /** Of all records so far. */
  headers = 0;

  constructor(content: Buffer) {
    this.content = content;
  }

  /** Zigzag; in floating point, because a varlong has more than 32 bits. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.content[this.position++];
      if (byte === undefined) throw malformed(wrongLength);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      factor *= 0x80;
      if (factor === 2 ** 70) throw malformed('it holds a number of more than 64 bits');
    }
  }

  bytes(): Buffer | null {
    const length = this.varint();
    return length < 0 ? null : this.content.subarray(this.#skip(length), this.position);
  }

  /** @param last - the last header at each index, to reuse what is equal. */
  header(last: LastHeader[], index: number): LastHeader {
    const header = (last[index] ??= { name: '', nameAt: 0, nameLength: -1, value: noBytes, valueAt: 0 });
    const nameLength = this.varint();
    const nameAt = this.#skip(nameLength);
    if (header.nameLength !== nameLength || !this.#isSame(header.nameAt, nameAt, nameLength)) {
      header.name = this.content.toString('utf8', nameAt, this.position);
      header.nameAt = nameAt;
      header.nameLength = nameLength;
    }
    // A header without a value is read as one of no bytes: no code distinguishes the two.
    const length = Math.max(0, this.varint());
    const valueAt = this.#skip(length);
    if (header.value.length !== length || !this.#isSame(header.valueAt, valueAt, length)) {
      header.value = this.content.subarray(valueAt, this.position);
      header.valueAt = valueAt;
    }
    return header;
  }

  /** @returns the start of these bytes. */
  #skip(length: number): number {
    const start = this.position;
    this.position += length;
    if (length < 0 || this.position > this.content.length) throw malformed(wrongLength);
    return start;
  }

  #isSame(one: number, other: number, length: number): boolean {
    for (let index = 0; index < length; index++)
      if (this.content[one + index] !== this.content[other + index]) return false;
    return true;
  }
}

const noBytes = Buffer.alloc(0);
const wrongLength = 'its records are not as long as they say';

function malformed(problem: string): MillraceError {
  return new MillraceError('CODEC_FAILED', problem);
}

function atPosition(batch: Buffer, offset: number) {
  return {
    offset: String(offset),
    timestamp: String(batch.readBigInt64BE(27)),
    key: null,
    value: null,
    attributes: 0,
    batchContext: batchContextOf(batch),
  };
}

/** Returns a message that has only a position: kafkajs passes on no control record. */
function placeholder(batch: Buffer, offset: number): FetchedMessage {
  return { ...atPosition(batch, offset), headers: {}, isControlRecord: true };
}

/** Returns the replacement for all records of an unreadable batch, with the beginning of its bytes. */
function unreadable(batch: Buffer, firstOffset: number, lastOffset: number, reason: string): FetchedMessage {
  const problem = `The batch of the offsets ${firstOffset} to ${lastOffset} can't be read: ${reason}.`;
  const headers = {
    [unreadableHeader]: Buffer.from(problem),
    [unreadableBytesHeader]: batch.subarray(0, unreadableBytes),
  };
  return { ...atPosition(batch, lastOffset), headers, isControlRecord: false };
}

function batchContextOf(batch: Buffer): FetchedMessage['batchContext'] {
  return {
    producerId: String(batch.readBigInt64BE(43)),
    inTransaction: (batch.readInt16BE(attributesAt) & transactionalFlag) !== 0,
  };
}

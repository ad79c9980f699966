import type { IHeaders, Message } from 'kafkajs';
import { crc32c } from '../platform/crc32c.js';
import { codecs } from './codecs.js';

/** A record as kafkajs passes it to its record encoder, which here leaves the encoding to the batch. */
export interface RecordFields extends Pick<Message, 'key' | 'value'> {
  offsetDelta?: number;
  /** Milliseconds; may be negative. */
  timestampDelta?: number;
  headers?: IHeaders;
}

/** A 64-bit number in one of kafkajs' several forms. */
type Long = number | string | bigint | { toString(): string };

export interface BatchFields {
  /** 0 is none, 1 gzip. */
  compression?: number;
  firstOffset?: Long;
  firstTimestamp?: Long;
  maxTimestamp?: Long;
  partitionLeaderEpoch?: number;
  lastOffsetDelta?: number;
  transactional?: boolean;
  producerId?: Long;
  producerEpoch?: number;
  firstSequence?: number;
  records?: readonly RecordFields[];
}

/** Members that kafkajs' request encoder reads. */
export interface EncodedBatch {
  buf: Buffer;
  buffer: Buffer;
  size(): number;
}

const headerBytes = 61;
const transactionalFlag = 0x10;

/**
 * Encodes a record batch in one buffer of the right size. kafkajs allocates half a kilobyte of zeroed memory
 * for each record and each header, copies them through three zeroed buffers of twice the size, and checks
 * them byte by byte, which took most of the time of producing.
 *
 *     RecordBatch => baseOffset int64, length int32, partitionLeaderEpoch int32, magic int8, crc uint32,
 *                    attributes int16, lastOffsetDelta int32, baseTimestamp int64, maxTimestamp int64,
 *                    producerId int64, producerEpoch int16, baseSequence int32, record count int32, records
 */
export async function encodeBatch({
  compression = 0,
  firstOffset = 0,
  firstTimestamp = Date.now(),
  maxTimestamp = Date.now(),
  partitionLeaderEpoch = 0,
  lastOffsetDelta = 0,
  transactional = false,
  producerId = -1,
  producerEpoch = 0,
  firstSequence = 0,
  records = [],
}: BatchFields): Promise<EncodedBatch> {
  const sizes = records.map(sizeOfBody);
  let end = headerBytes;
  for (const size of sizes) end += sizeOfVarint(size) + size;
  let buf = Buffer.allocUnsafe(end);
  let position = headerBytes;
  for (const [index, record] of records.entries())
    position = writeRecord(buf, position, record, sizes[index] ?? 0);
  if (compression !== 0) {
    const compressed = await codecs.GZIP().compress({ buffer: buf.subarray(headerBytes) });
    buf = Buffer.concat([buf.subarray(0, headerBytes), compressed]);
  }

  buf.writeBigInt64BE(toBigInt(firstOffset), 0);
  buf.writeInt32BE(buf.length - 12, 8);
  buf.writeInt32BE(partitionLeaderEpoch, 12);
  buf[16] = 2;
  buf.writeInt16BE(compression | (transactional ? transactionalFlag : 0), 21);
  buf.writeInt32BE(lastOffsetDelta, 23);
  buf.writeBigInt64BE(toBigInt(firstTimestamp), 27);
  buf.writeBigInt64BE(toBigInt(maxTimestamp), 35);
  buf.writeBigInt64BE(toBigInt(producerId), 43);
  buf.writeInt16BE(producerEpoch, 51);
  buf.writeInt32BE(firstSequence, 53);
  buf.writeInt32BE(records.length, 57);
  buf.writeUInt32BE(crc32c(buf, 21), 17);
  return { buf, buffer: buf, size: () => buf.length };
}

function toBigInt(value: Long): bigint {
  return BigInt(typeof value === 'object' ? value.toString() : value);
}

/**
 *     Record => length varint, attributes int8, timestampDelta varlong, offsetDelta varint,
 *               key varint + bytes, value varint + bytes, header count varint, headers
 *     Header => key varint + string, value varint + bytes        (length −1 is null)
 */
function sizeOfBody({ offsetDelta = 0, timestampDelta = 0, key, value, headers }: RecordFields): number {
  let count = 0;
  let size =
    1 + sizeOfVarint(timestampDelta) + sizeOfVarint(offsetDelta) + sizeOfBytes(key) + sizeOfBytes(value);
  for (const name in headers) {
    const given = headers[name];
    const nameBytes = sizeOfBytes(name);
    if (Array.isArray(given)) {
      count += given.length;
      for (const item of given) size += nameBytes + sizeOfBytes(item);
    } else {
      count++;
      size += nameBytes + sizeOfBytes(given);
    }
  }
  return size + sizeOfVarint(count);
}

function writeRecord(buf: Buffer, start: number, record: RecordFields, size: number): number {
  const { offsetDelta = 0, timestampDelta = 0, key, value, headers } = record;
  let position = writeVarint(buf, start, size);
  buf[position++] = 0;
  position = writeVarint(buf, position, timestampDelta);
  position = writeVarint(buf, position, offsetDelta);
  position = writeBytes(buf, position, key);
  position = writeBytes(buf, position, value);
  let count = 0;
  for (const name in headers) {
    const given = headers[name];
    count += Array.isArray(given) ? given.length : 1;
  }
  position = writeVarint(buf, position, count);
  for (const name in headers) {
    const given = headers[name];
    for (const item of Array.isArray(given) ? given : [given]) {
      position = writeBytes(buf, position, name);
      position = writeBytes(buf, position, item);
    }
  }
  return position;
}

type Bytes = Buffer | string | null | undefined;

function byteLength(value: Buffer | string): number {
  return typeof value === 'string' ? Buffer.byteLength(value) : value.length;
}

function sizeOfBytes(value: Bytes): number {
  if (value === null || value === undefined) return 1;
  const length = byteLength(value);
  return sizeOfVarint(length) + length;
}

function writeBytes(buf: Buffer, position: number, value: Bytes): number {
  if (value === null || value === undefined) return writeVarint(buf, position, -1);
  const start = writeVarint(buf, position, byteLength(value));
  return start + (typeof value === 'string' ? buf.write(value, start) : value.copy(buf, start));
}

/** Zigzag: 0, −1, 1, −2 … are 0, 1, 2, 3 …; in floating point, because a varlong has up to 53 bits here. */
function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

function sizeOfVarint(value: number): number {
  let rest = zigzag(value);
  let size = 1;
  for (; rest >= 0x80; size++) rest = Math.floor(rest / 0x80);
  return size;
}

function writeVarint(buf: Buffer, start: number, value: number): number {
  let rest = zigzag(value);
  let position = start;
  while (rest >= 0x80) {
    buf[position++] = (rest % 0x80) + 0x80;
    rest = Math.floor(rest / 0x80);
  }
  buf[position++] = rest;
  return position;
}

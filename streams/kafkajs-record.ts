import type { IHeaders, Message } from 'kafkajs';

interface RecordFields extends Pick<Message, 'key' | 'value'> {
  offsetDelta?: number;
  /** Milliseconds; may be negative. */
  timestampDelta?: number;
  headers?: IHeaders;
}

/** The two properties of kafkajs' encoder that its record batch looks at. */
interface EncodedRecord {
  buf: Buffer;
  buffer: Buffer;
}

/**
 * Encodes a record of a record batch in one buffer of the right size. kafkajs takes half a kilobyte of zeroed memory
 * for the record and as much again for each header: with CloudEvents headers that was most of the time of producing.
 *
 *     Record => length varint, attributes int8, timestampDelta varlong, offsetDelta varint,
 *               key varint + bytes, value varint + bytes, header count varint, headers
 *     Header => key varint + string, value varint + bytes        (length −1 is null)
 */
export function encodeRecord({
  offsetDelta = 0,
  timestampDelta = 0,
  key,
  value,
  headers = {},
}: RecordFields): EncodedRecord {
  let headerCount = 0;
  let headerBytes = 0;
  for (const name in headers) {
    const given = headers[name];
    const nameBytes = sizeOfBytes(name);
    for (const item of Array.isArray(given) ? given : [given]) {
      headerCount++;
      headerBytes += nameBytes + sizeOfBytes(item);
    }
  }
  const body =
    1 +
    sizeOfVarint(timestampDelta) +
    sizeOfVarint(offsetDelta) +
    sizeOfBytes(key) +
    sizeOfBytes(value) +
    sizeOfVarint(headerCount) +
    headerBytes;

  const buf = Buffer.allocUnsafe(sizeOfVarint(body) + body);
  let position = writeVarint(buf, 0, body);
  buf[position++] = 0;
  position = writeVarint(buf, position, timestampDelta);
  position = writeVarint(buf, position, offsetDelta);
  position = writeBytes(buf, position, key);
  position = writeBytes(buf, position, value);
  position = writeVarint(buf, position, headerCount);
  for (const name in headers) {
    const given = headers[name];
    for (const item of Array.isArray(given) ? given : [given]) {
      position = writeBytes(buf, position, name);
      position = writeBytes(buf, position, item);
    }
  }
  return { buf, buffer: buf };
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

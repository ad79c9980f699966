import { decompress } from '../../../platform/batch-compression.js';
import { buildBatch, codecMask, controlFlag, headerLength, transactionalFlag } from './record-batch.js';
import type { BatchHeader } from './record-batch.js';

/**
 * One record inside a batch:
 *
 *     Record => length varint · attributes i8 · timestampDelta varlong · offsetDelta varint
 *               · key (varint length, -1 = null) · value (same) · headers (varint count, …)
 */
export interface DecodedRecord {
  offset: number;
  timestamp: number;
  key: Buffer | null;
  value: Buffer | null;
  /** The record's own bytes, length prefix included. */
  raw: Buffer;
}

/** The records of a batch, or `undefined` when its content can't be decoded: such a batch stays as it is. */
export function decodeRecords(batch: Buffer, header: BatchHeader): DecodedRecord[] | undefined {
  try {
    return decodeAll(recordBytes(batch, header), header);
  } catch {
    return undefined;
  }
}

/**
 * Whether a batch, once decompressed, is exactly the records that its header counts, by their lengths: consumers never
 * get past one that is not.
 */
export function holdsItsRecords(batch: Buffer, header: BatchHeader): boolean {
  try {
    const bytes = recordBytes(batch, header);
    let at = 0;
    for (let i = 0; i < header.count; i++) {
      const length = readVarint(bytes, at);
      if (length.value < 0) return false;
      at = length.end + length.value;
      if (at > bytes.length) return false;
    }
    return at === bytes.length;
  } catch {
    return false;
  }
}

function recordBytes(batch: Buffer, header: BatchHeader): Buffer {
  return decompress(header.attributes & codecMask, batch.subarray(headerLength, header.size));
}

/** A zigzag varint, and where it ends. */
function readVarint(bytes: Buffer, start: number): { value: number; end: number } {
  let value = 0;
  let at = start;
  for (let factor = 1; ; factor *= 128) {
    const byte = bytes.readUInt8(at++);
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  return { value: value % 2 === 0 ? value / 2 : -(value + 1) / 2, end: at };
}

function decodeAll(bytes: Buffer, header: BatchHeader): DecodedRecord[] {
  const records: DecodedRecord[] = [];
  let at = 0;
  const next = (): number => {
    const { value, end } = readVarint(bytes, at);
    at = end;
    return value;
  };
  const byteString = (end: number): Buffer | null => {
    const length = next();
    if (length < 0) return null;
    if (at + length > end) throw new RangeError('a record field is longer than its record');
    at += length;
    return bytes.subarray(at - length, at);
  };
  for (let i = 0; i < header.count; i++) {
    const start = at;
    const length = next();
    const end = at + length;
    if (length < 0 || end > bytes.length) throw new RangeError('a record is longer than its batch');
    at++;
    const timestamp = header.baseTimestamp + next();
    const offset = header.baseOffset + next();
    const key = byteString(end);
    const value = byteString(end);
    records.push({ offset, timestamp, key, value, raw: bytes.subarray(start, end) });
    at = end;
  }
  return records;
}

export interface NewRecord {
  key: Buffer | null;
  value: Buffer | null;
}

/** An uncompressed batch without producer id; the log gives it its offset. */
export function encodeRecords(records: readonly NewRecord[], timestamp: number): Buffer {
  const encoded = records.map((record, offsetDelta) => encodeRecord(record, offsetDelta));
  return buildBatch(
    {
      baseOffset: 0,
      attributes: 0,
      lastOffsetDelta: records.length - 1,
      baseTimestamp: timestamp,
      maxTimestamp: timestamp,
      producerId: -1,
      producerEpoch: -1,
      baseSequence: -1,
      count: records.length,
    },
    Buffer.concat(encoded),
  );
}

/**
 * The control batch that ends a transaction on one partition: key = i16 version 0, i16 type (0 abort, 1 commit);
 * value = i16 version 0, i32 coordinator epoch.
 */
export function encodeMarker(
  producerId: number,
  producerEpoch: number,
  committed: boolean,
  timestamp: number,
): Buffer {
  const key = Buffer.from([0, 0, 0, committed ? 1 : 0]);
  return buildBatch(
    {
      baseOffset: 0,
      attributes: transactionalFlag | controlFlag,
      lastOffsetDelta: 0,
      baseTimestamp: timestamp,
      maxTimestamp: timestamp,
      producerId,
      producerEpoch,
      baseSequence: -1,
      count: 1,
    },
    encodeRecord({ key, value: Buffer.alloc(6) }, 0),
  );
}

/** Whether a control batch commits its transaction (otherwise it aborts it). */
export function isCommitMarker(batch: Buffer, header: BatchHeader): boolean {
  const key = decodeRecords(batch, header)?.[0]?.key;
  return key !== null && key !== undefined && key.length >= 4 && key.readInt16BE(2) === 1;
}

function encodeRecord(record: NewRecord, offsetDelta: number): Buffer {
  const body = Buffer.concat([
    Buffer.from([0, 0]),
    varint(offsetDelta),
    varint(record.key?.length ?? -1),
    record.key ?? Buffer.alloc(0),
    varint(record.value?.length ?? -1),
    record.value ?? Buffer.alloc(0),
    varint(0),
  ]);
  return Buffer.concat([varint(body.length), body]);
}

function varint(value: number): Buffer {
  let rest = value >= 0 ? value * 2 : -value * 2 - 1;
  const bytes: number[] = [];
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

import { decompress, maxBatchHeaders, maxBatchRecords } from '../../../platform/batch-compression.js';
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

/**
 * Returns the records of a batch, or `undefined` when its content is undecodable: such a batch is kept
 * unchanged.
 */
export function decodeRecords(batch: Buffer, header: BatchHeader): DecodedRecord[] | undefined {
  if (header.count > maxBatchRecords) return undefined;
  try {
    return decodeAll(recordBytes(batch, header), header);
  } catch {
    return undefined;
  }
}

/**
 * Checks that a client's batch, once decompressed, consists exactly of the records that its header counts, as
 * Apache Kafka requires: with inner offsets 0, 1, 2 …, fields that fill their records, and within the limits
 * on their number. Consumers trust the content of a batch. No record objects are made.
 *
 * @param needsKeys - whether a record without a key is refused as well.
 */
export function holdsItsRecords(batch: Buffer, header: BatchHeader, needsKeys: boolean): boolean {
  if (header.count > maxBatchRecords) return false;
  try {
    const bytes = recordBytes(batch, header);
    const cursor = { bytes, at: 0 };
    let headers = 0;
    for (let index = 0; index < header.count; index++) {
      const length = next(cursor);
      const end = cursor.at + length;
      if (length < 0 || end > bytes.length) return false;
      cursor.at++;
      next(cursor);
      if (next(cursor) !== index) return false;
      if (skip(cursor) < 0 && needsKeys) return false;
      skip(cursor);
      const count = next(cursor);
      headers += count;
      if (count < 0 || headers > maxBatchHeaders) return false;
      for (let left = count; left > 0; left--) {
        if (skip(cursor) < 0) return false;
        skip(cursor);
      }
      if (cursor.at !== end) return false;
    }
    return cursor.at === bytes.length;
  } catch {
    return false;
  }
}

interface Cursor {
  readonly bytes: Buffer;
  at: number;
}

/** Reads a zigzag varint of at most 64 bits. @throws RangeError beyond the end, and for a longer one. */
function next(cursor: Cursor): number {
  let value = 0;
  for (let factor = 1; ; factor *= 128) {
    if (factor === 2 ** 70) throw new RangeError('a varint has more than 10 bytes');
    const byte = cursor.bytes.readUInt8(cursor.at++);
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}

/** Skips a byte string. @returns its length, negative for null. */
function skip(cursor: Cursor): number {
  const length = next(cursor);
  if (length > 0) cursor.at += length;
  return length;
}

function recordBytes(batch: Buffer, header: BatchHeader): Buffer {
  return decompress(header.attributes & codecMask, batch.subarray(headerLength, header.size));
}

function decodeAll(bytes: Buffer, header: BatchHeader): DecodedRecord[] {
  const records: DecodedRecord[] = [];
  const cursor = { bytes, at: 0 };
  const byteString = (end: number): Buffer | null => {
    const length = skip(cursor);
    if (cursor.at > end) throw new RangeError('a record field is longer than its record');
    return length < 0 ? null : bytes.subarray(cursor.at - length, cursor.at);
  };
  // The rest of a batch after compaction: fewer records than offsets.
  let lowest = header.baseOffset;
  for (let i = 0; i < header.count; i++) {
    const start = cursor.at;
    const length = next(cursor);
    const end = cursor.at + length;
    if (length < 0 || end > bytes.length) throw new RangeError('a record is longer than its batch');
    cursor.at++;
    const timestamp = header.baseTimestamp + next(cursor);
    const offset = header.baseOffset + next(cursor);
    if (!(offset >= lowest && offset <= header.lastOffset)) {
      throw new RangeError('a record has an offset outside its batch');
    }
    lowest = offset + 1;
    const key = byteString(end);
    const value = byteString(end);
    records.push({ offset, timestamp, key, value, raw: bytes.subarray(start, end) });
    cursor.at = end;
  }
  return records;
}

export interface NewRecord {
  key: Buffer | null;
  value: Buffer | null;
}

/** Returns an uncompressed batch without producer id; the log sets its offset. */
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
 * Returns the control batch that ends a transaction on one partition: key = i16 version 0, i16 type (0 abort,
 * 1 commit); value = i16 version 0, i32 coordinator epoch.
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

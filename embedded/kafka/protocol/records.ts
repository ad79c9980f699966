import { gunzipSync } from 'node:zlib';
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

/** A decompressed batch never grows beyond this; a bigger one counts as opaque. */
const maxDecompressedBytes = 64 * 1024 * 1024;

/**
 * The records of a batch, or `undefined` when it is compressed with a codec that Node lacks (snappy, LZ4, zstd) or its
 * content can't be decoded: such a batch is opaque to the broker, and stays as it is.
 */
export function decodeRecords(batch: Buffer, header: BatchHeader): DecodedRecord[] | undefined {
  const codec = header.attributes & codecMask;
  if (codec > 1) return undefined;
  try {
    const stored = batch.subarray(headerLength, header.size);
    const bytes = codec === 1 ? gunzipSync(stored, { maxOutputLength: maxDecompressedBytes }) : stored;
    return decodeAll(bytes, header);
  } catch {
    return undefined;
  }
}

function decodeAll(bytes: Buffer, header: BatchHeader): DecodedRecord[] {
  const records: DecodedRecord[] = [];
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes.readUInt8(at++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  };
  const byteString = (end: number): Buffer | null => {
    const length = readVarint();
    if (length < 0) return null;
    if (at + length > end) throw new RangeError('a record field is longer than its record');
    at += length;
    return bytes.subarray(at - length, at);
  };
  for (let i = 0; i < header.count; i++) {
    const start = at;
    const length = readVarint();
    const end = at + length;
    if (length < 0 || end > bytes.length) throw new RangeError('a record is longer than its batch');
    at++;
    const timestamp = header.baseTimestamp + readVarint();
    const offset = header.baseOffset + readVarint();
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

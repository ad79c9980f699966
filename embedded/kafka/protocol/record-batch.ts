import { crc32c } from '../../../platform/crc32c.js';

/**
 * The v2 record batch, the unit of storage and transfer. Offsets of its fields:
 *
 *     0 baseOffset i64 · 8 length i32 (bytes after it) · 12 partitionLeaderEpoch i32 · 16 magic i8 = 2
 *     17 crc u32 (CRC-32C of 21..end) · 21 attributes i16 · 23 lastOffsetDelta i32 · 27 baseTimestamp i64
 *     35 maxTimestamp i64 · 43 producerId i64 · 51 producerEpoch i16 · 53 baseSequence i32 · 57 count i32 · 61 records
 *
 * attributes: bits 0–2 codec, 3 log-append time, 4 transactional, 5 control.
 */
export const headerLength = 61;
/** Bytes before the part that `length` counts. */
export const lengthOverhead = 12;

export const logAppendTimeFlag = 0x08;
export const transactionalFlag = 0x10;
export const controlFlag = 0x20;
export const codecMask = 0x07;

export const lengthAt = 8;
const leaderEpochAt = 12;
export const magicAt = 16;
export const crcAt = 17;
export const attributesAt = 21;
export const lastOffsetDeltaAt = 23;
export const maxTimestampAt = 35;

export interface BatchHeader {
  baseOffset: number;
  lastOffset: number;
  /** The whole batch in bytes, header included. */
  size: number;
  attributes: number;
  baseTimestamp: number;
  /**
   * The larger of the header's two timestamps: producers do not always fill maxTimestamp with the maximum.
   */
  maxTimestamp: number;
  producerId: number;
  producerEpoch: number;
  baseSequence: number;
  count: number;
}

/** Returns the size of the batch that starts at `at`, from its length field only. Needs 12 bytes. */
export function batchSize(bytes: Buffer, at = 0): number {
  return bytes.readInt32BE(at + lengthAt) + lengthOverhead;
}

/** Reads the header at `at`; needs {@link headerLength} bytes there. Nothing is validated. */
export function readHeader(bytes: Buffer, at = 0): BatchHeader {
  const baseOffset = readInt64(bytes, at);
  const baseTimestamp = readInt64(bytes, at + 27);
  return {
    baseOffset,
    lastOffset: baseOffset + bytes.readInt32BE(at + lastOffsetDeltaAt),
    size: batchSize(bytes, at),
    attributes: bytes.readInt16BE(at + attributesAt),
    baseTimestamp,
    maxTimestamp: Math.max(baseTimestamp, readInt64(bytes, at + maxTimestampAt)),
    producerId: readInt64(bytes, at + 43),
    producerEpoch: bytes.readInt16BE(at + 51),
    baseSequence: bytes.readInt32BE(at + 53),
    count: bytes.readInt32BE(at + 57),
  };
}

export function isTransactional(header: BatchHeader): boolean {
  return (header.attributes & transactionalFlag) !== 0;
}

export function isControl(header: BatchHeader): boolean {
  return (header.attributes & controlFlag) !== 0;
}

/** Whether a whole, intact v2 batch of `available` bytes or fewer starts at `at`. */
export function isIntact(bytes: Buffer, at: number, available: number): boolean {
  if (available < headerLength) return false;
  const size = batchSize(bytes, at);
  if (size < headerLength || size > available || bytes[at + magicAt] !== 2) return false;
  return bytes.readUInt32BE(at + crcAt) === crc32c(bytes, at + attributesAt, at + size);
}

/**
 * Whether the bytes are in the format before v2 (magic 0 or 1), which has the magic byte at the same
 * position.
 */
export function isOldFormat(bytes: Buffer): boolean {
  return bytes.length > magicAt && (bytes[magicAt] ?? 2) < 2;
}

/** Sets the batch's offset and epoch in the log. Neither field is covered by the CRC. */
export function placeBatch(batch: Buffer, baseOffset: number): void {
  writeInt64(batch, baseOffset, 0);
  batch.writeInt32BE(0, leaderEpochAt);
}

/** Rewrites the CRC after a change of attributes or timestamps. */
export function sealBatch(batch: Buffer): void {
  batch.writeUInt32BE(crc32c(batch, attributesAt, batch.length), crcAt);
}

export interface BatchFields {
  baseOffset: number;
  attributes: number;
  lastOffsetDelta: number;
  baseTimestamp: number;
  maxTimestamp: number;
  producerId: number;
  producerEpoch: number;
  baseSequence: number;
  count: number;
}

/** Adds a header to encoded records and sets its CRC. */
export function buildBatch(fields: BatchFields, records: Buffer): Buffer {
  const batch = Buffer.alloc(headerLength + records.length);
  writeInt64(batch, fields.baseOffset, 0);
  batch.writeInt32BE(batch.length - lengthOverhead, lengthAt);
  batch.writeInt8(2, magicAt);
  batch.writeInt16BE(fields.attributes, attributesAt);
  batch.writeInt32BE(fields.lastOffsetDelta, lastOffsetDeltaAt);
  writeInt64(batch, fields.baseTimestamp, 27);
  writeInt64(batch, fields.maxTimestamp, maxTimestampAt);
  writeInt64(batch, fields.producerId, 43);
  batch.writeInt16BE(fields.producerEpoch, 51);
  batch.writeInt32BE(fields.baseSequence, 53);
  batch.writeInt32BE(fields.count, 57);
  records.copy(batch, headerLength);
  sealBatch(batch);
  return batch;
}

export function readInt64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
}

/** A client's timestamp may be a double beyond 64 bits: it is clamped. */
export function writeInt64(bytes: Buffer, value: number, at: number): number {
  const fitting = value < 2 ** 63 ? BigInt(Math.max(value, -(2 ** 63))) : 2n ** 63n - 1n;
  return bytes.writeBigInt64BE(fitting, at);
}

/** Returns the offset after the last of some consecutive batches. */
export function endOffset(batches: Buffer): number {
  let header = readHeader(batches);
  for (let at = header.size; at < batches.length; at += header.size) header = readHeader(batches, at);
  return header.lastOffset + 1;
}

import { ErrorCode } from '../protocol/error-codes.js';
import {
  attributesAt,
  batchSize,
  headerLength,
  isControl,
  isIntact,
  isOldFormat,
  lastOffsetDeltaAt,
  logAppendTimeFlag,
  maxTimestampAt,
  readHeader,
  sealBatch,
  writeInt64,
} from '../protocol/record-batch.js';
import { holdsItsRecords } from '../protocol/records.js';
import type { LogConfig } from './topic-config.js';

/** Returns why a client's batch is refused, as an error code; NONE when it may be appended. */
export function refusalOfBatch(batch: Buffer, config: LogConfig): number {
  if (isOldFormat(batch)) return ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT;
  if (batch.length > config.maxBatchBytes) return ErrorCode.MESSAGE_TOO_LARGE;
  if (batch.length < headerLength) return ErrorCode.CORRUPT_MESSAGE;
  if (batchSize(batch) < batch.length && batchSize(batch) >= headerLength) return ErrorCode.INVALID_RECORD;
  if (!isIntact(batch, 0, batch.length)) return ErrorCode.CORRUPT_MESSAGE;
  const header = readHeader(batch);
  // The base offset is the client's, and may be too large for arithmetic with doubles.
  const countMatches = header.count > 0 && batch.readInt32BE(lastOffsetDeltaAt) === header.count - 1;
  if (!countMatches || isControl(header)) return ErrorCode.INVALID_RECORD;
  if (header.producerId >= 0 && (header.baseSequence < 0 || header.producerEpoch < 0))
    return ErrorCode.INVALID_RECORD;
  return holdsItsRecords(batch, header, config.compact) ? ErrorCode.NONE : ErrorCode.INVALID_RECORD;
}

/** Sets the broker's time in every record of the batch (`message.timestamp.type=LogAppendTime`). */
export function stampAppendTime(batch: Buffer, now: number): void {
  batch.writeInt16BE(batch.readInt16BE(attributesAt) | logAppendTimeFlag, attributesAt);
  writeInt64(batch, now, maxTimestampAt);
  sealBatch(batch);
}

import { crc32c } from '../../../platform/crc32c.js';
import {
  attributesAt,
  batchSize,
  crcAt,
  headerLength,
  isIntact,
  lengthAt,
  lengthOverhead,
  magicAt,
  readHeader,
} from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';

/**
 * Maximum distance between batches: a larger one means a damaged offset, or no batch but a record's content.
 */
const furthestAhead = 2 ** 31;

export interface FoundBatch {
  header: BatchHeader;
  bytes: Buffer;
}

/**
 * Finds the intact batches of a damaged file in ascending order of offset.
 *
 * A damaged batch is skipped by its length if that leads to another batch. Otherwise each byte may be the
 * first of the next one. Neither length nor offset of a batch is covered by its CRC: a length is repaired if
 * the CRC matches the bytes up to the next batch, and a batch whose offset does not fit between its
 * neighbours' is left out.
 *
 * @param after - the offset before the first one.
 * @returns also how many batches are intact, left out or not.
 */
export function intactBatches(bytes: Buffer, after: number): { batches: FoundBatch[]; intact: number } {
  const found = [...walk(bytes, after)];
  const batches: FoundBatch[] = [];
  let last = after;
  for (const [index, batch] of found.entries()) {
    const { baseOffset, lastOffset } = batch.header;
    if (!isNext(batch.header, last)) continue;
    const next = found[index + 1]?.header.baseOffset ?? Infinity;
    if (baseOffset !== last + 1 && lastOffset >= next) continue;
    batches.push(batch);
    last = lastOffset;
  }
  return { batches, intact: found.length };
}

function* walk(bytes: Buffer, after: number): Generator<FoundBatch> {
  let last = after;
  let at = 0;
  while (bytes.length - at >= headerLength) {
    if (isIntact(bytes, at, bytes.length - at)) {
      const header = readHeader(bytes, at);
      yield { header, bytes: bytes.subarray(at, at + header.size) };
      if (isNext(header, last)) last = header.lastOffset;
      at += header.size;
      continue;
    }
    const next = nextBatch(bytes, at, last);
    const repaired = repair(bytes.subarray(at, next));
    if (repaired !== undefined) yield { header: readHeader(repaired), bytes: repaired };
    at = next;
  }
}

function nextBatch(bytes: Buffer, at: number, last: number): number {
  const byLength = at + batchSize(bytes, at);
  const leadsOn =
    byLength >= at + headerLength &&
    (byLength === bytes.length ||
      (byLength < bytes.length && isIntact(bytes, byLength, bytes.length - byLength)));
  if (leadsOn) return byLength;
  for (let next = at + 1; bytes.length - next >= headerLength; next++) {
    if (!isIntact(bytes, next, bytes.length - next)) continue;
    if (isNext(readHeader(bytes, next), last)) return next;
  }
  return bytes.length;
}

/** Returns the batch in these bytes, repaired in the fields outside the CRC, if they are one. */
function repair(bytes: Buffer): Buffer | undefined {
  if (bytes.length < headerLength || bytes.readUInt32BE(crcAt) !== crc32c(bytes, attributesAt))
    return undefined;
  const batch = Buffer.from(bytes);
  batch.writeInt32BE(batch.length - lengthOverhead, lengthAt);
  batch.writeInt8(2, magicAt);
  return batch;
}

function isNext({ baseOffset, lastOffset }: BatchHeader, last: number): boolean {
  return baseOffset > last && baseOffset - last < furthestAhead && lastOffset >= baseOffset;
}

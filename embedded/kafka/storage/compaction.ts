import { buildBatch, codecMask, isControl, isTransactional } from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';
import { decodeRecords } from '../protocol/records.js';
import type { DecodedRecord } from '../protocol/records.js';
import type { PartitionLog } from './partition-log.js';
import { cleanedSuffix, Segment } from './segment.js';

/** Approximate maximum memory of the keys of one run; further keys wait for the next run. */
const maxKeyBytes = 16 * 1024 * 1024;
const bytesPerKeyEntry = 64;
const writeBytes = 1024 * 1024;

/** The newest offset of each key below `end`. */
interface LatestOffsets {
  offsets: Map<string, number>;
  end: number;
}

/**
 * Compacts the closed segments below the last stable offset: of each key only the newest record stays,
 * records of aborted transactions are removed, tombstones are removed when they are older than
 * `delete.retention.ms`. Offsets never change. Control batches stay (readers need the marker as long as the
 * aborted transaction is listed). The rest of a compressed batch is stored uncompressed. Neighbouring
 * segments that have become small are merged.
 */
export async function compactLog(log: PartitionLog, now: number): Promise<void> {
  const { lastStableOffset } = log;
  const closed = log.segments.slice(0, -1).filter(({ lastOffset }) => lastOffset < lastStableOffset);
  const end = (closed.at(-1)?.lastOffset ?? -1) + 1;
  if (end <= log.compactedUpTo) return;
  const latest = await latestOffsets(log, closed);
  const tombstonesBefore = now - log.config.deleteRetentionMs;

  let rest = closed;
  while (rest.length > 0) rest = rest.slice(await mergeFirst(log, rest, latest, tombstonesBefore));
  log.compactedUpTo = latest.end;
}

async function latestOffsets(log: PartitionLog, segments: readonly Segment[]): Promise<LatestOffsets> {
  const offsets = new Map<string, number>();
  let bytes = 0;
  let end = 0;
  for (const segment of segments) {
    await segment.forEachBatch(0, (header, batch) => {
      if (bytes > maxKeyBytes) return false;
      end = header.lastOffset + 1;
      if (isControl(header) || isAborted(log, header)) return true;
      for (const { key, offset } of decodeRecords(batch, header) ?? []) {
        if (key === null) continue;
        const name = key.toString('latin1');
        if (!offsets.has(name)) bytes += name.length + bytesPerKeyEntry;
        offsets.set(name, offset);
      }
      return true;
    });
    if (bytes > maxKeyBytes) return { offsets, end };
  }
  return { offsets, end: (segments.at(-1)?.lastOffset ?? -1) + 1 };
}

/**
 * Merges the rest of the first segment, and of as many after it as fit, into one. Returns how many it
 * replaced.
 */
async function mergeFirst(
  log: PartitionLog,
  segments: readonly Segment[],
  latest: LatestOffsets,
  tombstonesBefore: number,
): Promise<number> {
  const merged = new Segment(log.folder, segments[0]?.baseOffset ?? 0, cleanedSuffix);
  merged.create();
  try {
    const replaced: Segment[] = [];
    for (const segment of segments) {
      if (replaced.length > 0 && merged.size + segment.size > log.config.segmentBytes) break;
      await copyKept(log, segment, merged, latest, tombstonesBefore);
      // It covers the whole range of offsets, however few records remain.
      merged.lastOffset = segment.lastOffset;
      replaced.push(segment);
    }
    await log.replaceSegments(replaced, merged);
    return replaced.length;
  } finally {
    merged.release();
  }
}

async function copyKept(
  log: PartitionLog,
  from: Segment,
  to: Segment,
  latest: LatestOffsets,
  tombstonesBefore: number,
): Promise<void> {
  let position = 0;
  while (position < from.size) {
    const start = position;
    const kept: { header: BatchHeader; bytes: Buffer }[] = [];
    let bytes = 0;
    await from.forEachBatch(start, (header, batch) => {
      position += header.size;
      const rest = keptOf(log, header, batch, latest, tombstonesBefore);
      if (rest !== undefined) kept.push({ header: { ...header, size: rest.length }, bytes: rest });
      bytes += rest?.length ?? 0;
      return bytes < writeBytes;
    });
    if (position === start) throw new Error(`${from.path} cannot be read at ${start}`);
    if (kept.length > 0) await to.append(kept.map((each) => each.bytes));
    for (const { header } of kept) to.note(header);
  }
}

/** Returns the rest of a batch: all of it, a smaller batch with the same offsets, or nothing. */
function keptOf(
  log: PartitionLog,
  header: BatchHeader,
  batch: Buffer,
  latest: LatestOffsets,
  tombstonesBefore: number,
): Buffer | undefined {
  if (isControl(header)) return Buffer.from(batch);
  if (isAborted(log, header)) return undefined;
  const records = decodeRecords(batch, header);
  if (records === undefined) return Buffer.from(batch);
  const stays = ({ key, value, offset, timestamp }: DecodedRecord): boolean => {
    if (offset >= latest.end || key === null) return true;
    if (latest.offsets.get(key.toString('latin1')) !== offset) return false;
    return value !== null || timestamp >= tombstonesBefore;
  };
  const kept = records.filter(stays);
  if (kept.length === records.length) return Buffer.from(batch);
  if (kept.length === 0) return undefined;
  return buildBatch(
    {
      ...header,
      attributes: header.attributes & ~codecMask,
      lastOffsetDelta: header.lastOffset - header.baseOffset,
      count: kept.length,
    },
    Buffer.concat(kept.map(({ raw }) => raw)),
  );
}

function isAborted(log: PartitionLog, header: BatchHeader): boolean {
  if (!isTransactional(header)) return false;
  return log.producers
    .abortedBetween(header.baseOffset, header.lastOffset + 1)
    .some(({ producerId }) => producerId === header.producerId);
}

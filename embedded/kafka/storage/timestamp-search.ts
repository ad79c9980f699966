import { isControl } from '../protocol/record-batch.js';
import { decodeRecords } from '../protocol/records.js';
import type { PartitionLog } from './partition-log.js';

/**
 * Finds the first record below `end` whose timestamp is at least `timestamp`. Whole segments and batches are
 * skipped by the larger of their header's two timestamps; an opaque batch counts by its first offset.
 */
export async function findByTimestamp(
  log: PartitionLog,
  timestamp: number,
  end: number,
): Promise<{ offset: number; timestamp: number } | undefined> {
  let found: { offset: number; timestamp: number } | undefined;
  for (const segment of log.segments) {
    if (segment.maxTimestamp < timestamp || segment.lastOffset < log.logStart) continue;
    if (segment.baseOffset >= end) break;
    await segment.forEachBatch(0, (header, batch) => {
      if (header.maxTimestamp < timestamp || header.lastOffset < log.logStart || isControl(header))
        return true;
      const start = Math.max(header.baseOffset, log.logStart);
      const records = decodeRecords(batch, header) ?? [{ offset: start, timestamp: header.maxTimestamp }];
      const first = records.find((record) => record.timestamp >= timestamp && record.offset >= log.logStart);
      if (first !== undefined) found = { offset: first.offset, timestamp: first.timestamp };
      return found === undefined;
    });
    if (found !== undefined) break;
  }
  return found !== undefined && found.offset < end ? found : undefined;
}

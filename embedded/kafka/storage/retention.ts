import { unlink } from 'node:fs/promises';
import { syncFolder } from './files.js';
import type { PartitionLog } from './partition-log.js';
import type { Segment } from './segment.js';

/**
 * Closes an active segment that is old, then drops closed segments from the front: those below the log start, those
 * whose newest record has outlived `retention.ms`, and those beyond `retention.bytes`. The log start follows.
 */
export async function applyRetention(log: PartitionLog, now: number): Promise<void> {
  const { config } = log;
  const oldestKept = config.drop ? now - config.retentionMs : -Infinity;
  const { active } = log;
  const old = isOlder(active, oldestKept) || active.firstTimestamp < now - config.segmentMs;
  if (active.size > 0 && old) await log.roll();

  let excess = config.drop ? log.size - config.retentionBytes : 0;
  const dropped: Segment[] = [];
  for (const segment of log.segments.slice(0, -1)) {
    const below = segment.lastOffset < log.logStart;
    const expired = isOlder(segment, oldestKept);
    const beyond = excess >= segment.size && excess > 0;
    if (!below && !expired && !beyond) break;
    excess -= segment.size;
    dropped.push(segment);
  }
  if (dropped.length === 0) return;
  // Readers that hold a file open keep it; new reads no longer find the segment.
  log.segments = log.segments.filter((segment) => !dropped.includes(segment));
  log.logStart = Math.max(log.logStart, log.segments[0]?.baseOffset ?? 0);
  for (const { path } of dropped) await unlink(path);
  await syncFolder(log.folder);
}

/** Records without timestamps have no age: only their size counts. */
function isOlder({ maxTimestamp }: Segment, oldestKept: number): boolean {
  return maxTimestamp >= 0 && maxTimestamp < oldestKept;
}

import { unlink } from 'node:fs/promises';
import { syncFolder } from './files.js';
import type { PartitionLog } from './partition-log.js';
import type { Segment } from './segment.js';

/**
 * Closes an old active segment, then drops closed segments from the front: those below the log start, those
 * whose newest record is older than `retention.ms`, and those beyond `retention.bytes`. The log start
 * follows.
 *
 * @param moveStart - sets the log start and resolves when it is on disk: the next start then knows that
 *   earlier records are deleted and not lost.
 */
export async function applyRetention(
  log: PartitionLog,
  now: number,
  moveStart: (offset: number) => Promise<void>,
): Promise<void> {
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
  const last = dropped.at(-1);
  if (last === undefined) return;
  await moveStart(Math.max(log.logStart, last.lastOffset + 1));
  // Readers that have a file open keep it; new reads no longer find the segment.
  log.segments = log.segments.filter(({ baseOffset }) => baseOffset > last.lastOffset);
  for (const { path } of dropped) await unlink(path);
  await syncFolder(log.folder);
}

/** Records without timestamps have no age: only their size counts. */
function isOlder({ maxTimestamp }: Segment, oldestKept: number): boolean {
  return maxTimestamp >= 0 && maxTimestamp < oldestKept;
}

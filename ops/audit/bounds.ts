import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamRecord } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';

/** Compared range of a partition. */
export interface Bounds {
  partition: number;
  /** First offset on the log. */
  start: number;
  /** First offset to compare. */
  from: number;
  /** End of the offsets that the group has processed, exclusive. */
  to: number;
  /** Committed offset of the group, −1 if none. */
  committed: number;
  /** End of the log when the audit began, exclusive. */
  end: number;
}

/** Larger ranges are counted by offsets, without reading the records. */
const maxCounted = 10_000;
const pollMs = 250;

/**
 * Returns the ranges of a topic that a group has processed. Reads the committed offsets before the end of the
 * log, so that the group never appears to be ahead.
 *
 * @param since - only records with this timestamp (milliseconds since 1970) or later.
 */
export async function takeBounds(
  streams: Streams,
  groupId: string,
  topic: string,
  since: number | undefined,
): Promise<Bounds[]> {
  const committed = await streams.committed(groupId, topic);
  const [ends, firsts] = await Promise.all([
    streams.ends(topic),
    since === undefined ? undefined : streams.offsetsAt(topic, since),
  ]);
  return ends
    .map(({ partition, low, high }) => {
      const from = Math.min(high, Math.max(low, firsts?.get(partition) ?? low));
      const next = committed.get(partition) ?? -1;
      // An offset beyond the end is reported separately. Here, compare up to the end.
      const to = Math.min(high, Math.max(from, next));
      return { partition, start: low, from, to, committed: next, end: high };
    })
    .toSorted((a, b) => a.partition - b.partition);
}

/**
 * Counts the records that a group has yet to process; above {@link maxCounted} offsets, counts offsets
 * instead.
 */
export async function countInFlight(
  streams: Streams,
  topic: string,
  { partition, to, end }: Bounds,
): Promise<number> {
  if (end - to > maxCounted) return end - to;
  let count = 0;
  await streams.read([{ topic, partition, from: to, to: end }], (records) => void (count += records.length));
  return count;
}

/**
 * Waits until a group has processed what is on a topic now: only transaction markers and aborted records are
 * left.
 *
 * @param deadline - as `performance.now()`.
 * @returns false if the deadline has passed.
 */
export async function waitUntilDone(
  streams: Streams,
  groupId: string,
  topic: string,
  deadline: number,
): Promise<boolean> {
  const ends = await streams.ends(topic);
  for (;;) {
    const committed = await streams.committed(groupId, topic);
    let isDone = true;
    for (const { partition, low, high } of ends) {
      const from = Math.max(low, committed.get(partition) ?? low);
      if (from < high && (await firstRecord(streams, topic, { partition, from, to: high })) !== undefined) {
        isDone = false;
        break;
      }
    }
    if (isDone) return true;
    if (performance.now() > deadline) return false;
    await sleep(pollMs);
  }
}

/**
 * Returns the partitions with records to process whose committed offset has not moved.
 *
 * @param stillMs - how long to watch, in milliseconds.
 */
export async function stalledPartitions(
  streams: Streams,
  groupId: string,
  topic: string,
  bounds: readonly Bounds[],
  stillMs: number,
): Promise<Bounds[]> {
  let waiting: Bounds[] = [];
  for (const bound of bounds) {
    const { partition, to, end } = bound;
    if (to < end && (await firstRecord(streams, topic, { partition, from: to, to: end })) !== undefined)
      waiting.push(bound);
  }
  const deadline = performance.now() + stillMs;
  while (waiting.length > 0) {
    const committed = await streams.committed(groupId, topic);
    waiting = waiting.filter((bound) => (committed.get(bound.partition) ?? -1) <= bound.committed);
    if (performance.now() > deadline) break;
    await sleep(pollMs);
  }
  return waiting;
}

async function firstRecord(
  streams: Streams,
  topic: string,
  span: { partition: number; from: number; to: number },
): Promise<StreamRecord | undefined> {
  let first: StreamRecord | undefined;
  await streams.read([{ topic, ...span }], (records) => {
    first = records[0];
    return false;
  });
  return first;
}

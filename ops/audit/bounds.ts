import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamRecord } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';

/** How much of a partition is compared. */
export interface Bounds {
  partition: number;
  /** First offset that the log still has. */
  start: number;
  /** First offset to compare. */
  from: number;
  /** Up to here, and not at it, the group has done its work. */
  to: number;
  /** The offset that the group has committed; −1 without one. */
  committed: number;
  /** Next offset of a producer when the audit began. */
  end: number;
}

/** Beyond so many offsets their number stands for that of the records, which are then not read to be counted. */
const maxCounted = 10_000;
const pollMs = 250;

/**
 * What a group has done of a topic, as of now. Its position is read before the end of the log, so that it is never
 * taken to be ahead.
 *
 * @param since - only records of that time (milliseconds since 1970) or later.
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
      // Beyond the end it is a finding of its own, and all that is there is compared.
      const to = Math.min(high, Math.max(from, next));
      return { partition, start: low, from, to, committed: next, end: high };
    })
    .toSorted((a, b) => a.partition - b.partition);
}

/** Records that a group has before it; beyond some thousand of them offsets, transaction markers included. */
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
 * Waits until a group has done what is on a topic now: it has come to the end, or there is nothing but transaction
 * markers and aborted records before it.
 *
 * @param deadline - by `performance.now()`.
 * @returns whether it has.
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
 * Partitions with records before the group whose committed offset stands where it was, after a moment.
 *
 * @param stillMs - the moment, milliseconds.
 */
export async function standingStill(
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

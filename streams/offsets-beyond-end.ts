import { setTimeout as sleep } from 'node:timers/promises';
import type { Streams } from './streams.js';

/** A copy that has just become a partition's leader may take so long to know how far the log goes, milliseconds. */
const leaderChangeMs = 500;

/** A position that a consumer group can't have come to by reading. */
export interface OffsetBeyondEnd {
  groupId: string;
  topic: string;
  partition: number;
  committed: number;
  /** The offset that the next record gets. */
  end: number;
}

/**
 * Where a group has committed offsets beyond the end of the log: the log has lost records, or somebody set the offset.
 * The group passes over what comes in up to there, or reads everything anew.
 *
 * @throws MillraceError as `Streams.lag`.
 */
export async function offsetsBeyondEnd(
  streams: Streams,
  groupId: string,
  topics: readonly string[],
): Promise<OffsetBeyondEnd[]> {
  const look = async (): Promise<OffsetBeyondEnd[]> =>
    (await streams.lag(groupId, topics)).flatMap(({ topic, partition, committed, end }) =>
      committed > end ? [{ groupId, topic, partition, committed, end }] : [],
    );
  if ((await look()).length === 0) return [];
  await sleep(leaderChangeMs);
  return look();
}

/** The same for people. */
export function describeBeyondEnd({ groupId, topic, partition, committed, end }: OffsetBeyondEnd): string {
  return `${groupId} has committed offset ${committed} of ${topic}/${partition}, where the log ends at ${end}: records were lost, or the offset was set by hand`;
}

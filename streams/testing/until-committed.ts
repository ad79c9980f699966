import { pause } from '../../platform/backoff.js';
import type { Streams } from '../streams.js';

export interface UntilCommittedOptions {
  groupId: string;
  topic: string;
  /** The last offset to wait for in each partition, by partition. */
  offsets: Readonly<Record<number, number>>;
  /** Default 25,000. */
  timeoutMs?: number;
  /** Interval of the requests, and maximum delay of the answer. Default 25. */
  pollMs?: number;
}

/**
 * Resolves once a consumer group has committed these records, and all before them. @throws Error after the
 * timeout.
 */
export async function untilCommitted(
  streams: Streams,
  { groupId, topic, offsets, timeoutMs = 25_000, pollMs = 25 }: UntilCommittedOptions,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    // A test may break the network.
    const committed = await streams.committed(groupId, topic).catch(() => new Map<number, number>());
    const missing = Object.entries(offsets).filter(
      ([partition, offset]) => (committed.get(Number(partition)) ?? -1) <= offset,
    );
    if (missing.length === 0) return;
    if (Date.now() > deadline) {
      const which = missing.map(([partition, offset]) => `${offset} of ${topic}/${partition}`).join(', ');
      throw new Error(`${groupId} has not committed offset ${which} within ${timeoutMs} ms.`);
    }
    await pause(pollMs);
  }
}

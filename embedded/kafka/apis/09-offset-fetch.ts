import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { Reader } from '../protocol/reader.js';
import type { Writer } from '../protocol/writer.js';
import type { Services } from '../services.js';

interface AskedGroup {
  id: string;
  /** `null` requests all offsets of the group. */
  topics: { name: string; partitions: number[] }[] | null;
}

interface OffsetFetchRequest {
  groups: AskedGroup[];
  requireStable: boolean;
}

interface FetchedOffset {
  index: number;
  offset: number;
  leaderEpoch: number;
  metadata: string | null;
  errorCode: number;
}

interface FetchedGroup {
  id: string;
  errorCode: number;
  topics: { name: string; partitions: FetchedOffset[] }[];
}

/**
 * OffsetFetch, versions 1–8 (6 and later flexible). A partition without a commit has offset −1 and no error.
 * Under require_stable, an offset with a pending change by an open transaction is answered with
 * UNSTABLE_OFFSET_COMMIT.
 *
 *     Topics   => [topic · [partition i32]] (2+: null = all)
 *     Request  => group_id · Topics (1–7) · [group_id · Topics] (8) · require_stable bool (7+)
 *     Offsets  => [topic · [partition i32 · offset i64 · leader_epoch i32 (5+) · metadata nullable · error_code i16]]
 *                 · error_code i16 (2+)
 *     Response => throttle_time_ms i32 (3+) · Offsets (1–7) · [group_id · Offsets] (8)
 */
export const offsetFetch = defineApi<OffsetFetchRequest, FetchedGroup[]>({
  key: 9,
  name: 'OffsetFetch',
  minVersion: 1,
  maxVersion: 8,
  flexibleFrom: 6,

  decode(reader, version) {
    const group = (): AskedGroup => ({ id: reader.string(), topics: decodeTopics(reader) });
    const groups = version >= 8 ? reader.structs(group) : [group()];
    return { groups, requireStable: version >= 7 && reader.boolean() };
  },

  handle: ({ groups, requireStable }, { services }) =>
    groups.map((group) => fetchOffsets(services, group, requireStable)),

  encode(writer, groups, version) {
    if (version >= 3) writer.int32(0);
    if (version < 8) {
      // Always one: the request names one.
      for (const group of groups) encodeOffsets(writer, group, version);
      return;
    }
    writer.structs(groups, (group) => {
      writer.string(group.id);
      encodeOffsets(writer, group, version);
    });
  },

  refuse: ({ groups }, errorCode) =>
    groups.map(({ id, topics }) => ({
      id,
      errorCode,
      topics: (topics ?? []).map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((index) => noOffset(index, errorCode)),
      })),
    })),
});

function decodeTopics(reader: Reader): AskedGroup['topics'] {
  return reader.nullableStructs(() => {
    return { name: reader.string(), partitions: reader.array(() => reader.int32()) };
  });
}

function encodeOffsets(writer: Writer, { topics, errorCode }: FetchedGroup, version: number): void {
  writer.structs(topics, ({ name, partitions }) => {
    writer.string(name);
    writer.structs(partitions, (partition) => {
      writer.int32(partition.index);
      writer.int64(partition.offset);
      if (version >= 5) writer.int32(partition.leaderEpoch);
      writer.nullableString(partition.metadata);
      writer.int16(partition.errorCode);
    });
  });
  if (version >= 2) writer.int16(errorCode);
}

function fetchOffsets(
  { groups, transactions }: Services,
  { id, topics }: AskedGroup,
  requireStable: boolean,
): FetchedGroup {
  const asked = topics ?? committedTopics(groups.offsets.all(id));
  return {
    id,
    errorCode: ErrorCode.NONE,
    topics: asked.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((index) => {
        if (requireStable && transactions.hasPendingOffset(id, name, index)) {
          return noOffset(index, ErrorCode.UNSTABLE_OFFSET_COMMIT);
        }
        const committed = groups.offsets.get(id, name, index);
        if (committed === undefined) return noOffset(index, ErrorCode.NONE);
        const { offset, leaderEpoch, metadata } = committed;
        return { index, offset, leaderEpoch, metadata, errorCode: ErrorCode.NONE };
      }),
    })),
  };
}

function committedTopics(
  offsets: readonly { topic: string; partition: number }[],
): { name: string; partitions: number[] }[] {
  const topics = new Map<string, number[]>();
  for (const { topic, partition } of offsets) topics.set(topic, [...(topics.get(topic) ?? []), partition]);
  return [...topics].map(([name, partitions]) => ({ name, partitions }));
}

function noOffset(index: number, errorCode: number): FetchedOffset {
  return { index, offset: -1, leaderEpoch: -1, metadata: '', errorCode };
}

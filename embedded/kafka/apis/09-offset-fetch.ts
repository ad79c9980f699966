import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface OffsetFetchRequest {
  group: string;
  /** `null` asks for all that the group has committed. */
  topics: { name: string; partitions: number[] }[] | null;
  requireStable: boolean;
}

interface OffsetFetchResponse {
  errorCode: number;
  topics: {
    name: string;
    partitions: {
      index: number;
      offset: number;
      leaderEpoch: number;
      metadata: string | null;
      errorCode: number;
    }[];
  }[];
}

/**
 * OffsetFetch, versions 1–7 (6 and 7 flexible). A partition without a commit has offset −1 and no error. Under
 * require_stable an offset that an open transaction is about to change is answered with UNSTABLE_OFFSET_COMMIT.
 *
 *     Request  => group_id · [topic · [partition i32]] (2+: null = all) · require_stable bool (7)
 *     Response => throttle_time_ms i32 (3+)
 *                 · [topic · [partition i32 · offset i64 · leader_epoch i32 (5+) · metadata nullable · error_code i16]]
 *                 · error_code i16 (2+)
 */
export const offsetFetch = defineApi<OffsetFetchRequest, OffsetFetchResponse>({
  key: 9,
  name: 'OffsetFetch',
  minVersion: 1,
  maxVersion: 7,
  flexibleFrom: 6,

  decode(reader, version) {
    const group = reader.string();
    const topics = reader.nullableArray(() => {
      const topic = { name: reader.string(), partitions: reader.array(() => reader.int32()) };
      reader.tags();
      return topic;
    });
    const requireStable = version >= 7 && reader.boolean();
    reader.tags();
    return { group, topics, requireStable };
  },

  handle({ group, topics, requireStable }, { services }) {
    const { groups, transactions } = services;
    const asked = topics ?? committedTopics(groups.offsets.all(group));
    return {
      errorCode: ErrorCode.NONE,
      topics: asked.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((index) => {
          if (requireStable && transactions.hasPendingOffset(group, name, index)) {
            return noOffset(index, ErrorCode.UNSTABLE_OFFSET_COMMIT);
          }
          const committed = groups.offsets.get(group, name, index);
          if (committed === undefined) return noOffset(index, ErrorCode.NONE);
          const { offset, leaderEpoch, metadata } = committed;
          return { index, offset, leaderEpoch, metadata, errorCode: ErrorCode.NONE };
        }),
      })),
    };
  },

  encode(writer, { errorCode, topics }, version) {
    if (version >= 3) writer.int32(0);
    writer.array(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.array(partitions, (partition) => {
        writer.int32(partition.index);
        writer.int64(partition.offset);
        if (version >= 5) writer.int32(partition.leaderEpoch);
        writer.nullableString(partition.metadata);
        writer.int16(partition.errorCode);
        writer.tags();
      });
      writer.tags();
    });
    if (version >= 2) writer.int16(errorCode);
    writer.tags();
  },

  refuse: ({ topics }, errorCode) => ({
    errorCode,
    topics: (topics ?? []).map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((index) => noOffset(index, errorCode)),
    })),
  }),
});

function committedTopics(
  offsets: readonly { topic: string; partition: number }[],
): { name: string; partitions: number[] }[] {
  const topics = new Map<string, number[]>();
  for (const { topic, partition } of offsets) topics.set(topic, [...(topics.get(topic) ?? []), partition]);
  return [...topics].map(([name, partitions]) => ({ name, partitions }));
}

function noOffset(
  index: number,
  errorCode: number,
): OffsetFetchResponse['topics'][number]['partitions'][number] {
  return { index, offset: -1, leaderEpoch: -1, metadata: '', errorCode };
}

import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { PartitionOffset } from '../groups/offsets.js';

interface OffsetCommitRequest {
  group: string;
  generation: number;
  memberId: string;
  instanceId: string | null;
  topics: {
    name: string;
    partitions: { index: number; offset: number; leaderEpoch: number; metadata: string | null }[];
  }[];
}

interface OffsetCommitResponse {
  topics: { name: string; partitions: { index: number; errorCode: number }[] }[];
}

const maxMetadataLength = 4096;

/**
 * OffsetCommit, versions 2–8 (8 flexible). Answered when the offsets are on disk. Any offset is accepted,
 * negative ones too: kafkajs resets a group by committing −1 or −2. retention_time_ms is ignored, as in Kafka
 * since 2.1.
 *
 *     Request  => group_id · generation_id i32 · member_id · group_instance_id nullable (7+) · retention_time_ms i64 (2–4)
 *                 · [topic · [partition i32 · offset i64 · leader_epoch i32 (6+) · metadata nullable]]
 *     Response => throttle_time_ms i32 (3+) · [topic · [partition i32 · error_code i16]]
 */
export const offsetCommit = defineApi<OffsetCommitRequest, OffsetCommitResponse>({
  key: 8,
  name: 'OffsetCommit',
  minVersion: 2,
  maxVersion: 8,
  flexibleFrom: 8,

  decode(reader, version) {
    const group = reader.string();
    const generation = reader.int32();
    const memberId = reader.string();
    const instanceId = version >= 7 ? reader.nullableString() : null;
    if (version <= 4) reader.int64();
    const topics = reader.structs(() => ({
      name: reader.string(),
      partitions: reader.structs(() => ({
        index: reader.int32(),
        offset: reader.int64(),
        leaderEpoch: version >= 6 ? reader.int32() : -1,
        metadata: reader.nullableString(),
      })),
    }));
    return { group, generation, memberId, instanceId, topics };
  },

  async handle(request, { services }) {
    const { group, memberId, instanceId, generation } = request;
    const refusal = services.groups.checkCommit(group, memberId, instanceId, generation);
    if (refusal !== ErrorCode.NONE) return refuseAll(request, refusal);
    const accepted: PartitionOffset[] = [];
    const topics = request.topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index, offset, leaderEpoch, metadata }) => {
        if (services.topics.log(name, index) === undefined) {
          return { index, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION };
        }
        if ((metadata?.length ?? 0) > maxMetadataLength) {
          return { index, errorCode: ErrorCode.OFFSET_METADATA_TOO_LARGE };
        }
        const committed = { offset, leaderEpoch, metadata, committedAt: services.clock.now() };
        accepted.push({ topic: name, partition: index, committed });
        return { index, errorCode: ErrorCode.NONE };
      }),
    }));
    if (accepted.length > 0) await services.groups.offsets.commit(group, accepted);
    return { topics };
  },

  encode(writer, { topics }, version) {
    if (version >= 3) writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, ({ index, errorCode }) => {
        writer.int32(index);
        writer.int16(errorCode);
      });
    });
  },

  refuse: (request, errorCode) => refuseAll(request, errorCode),
});

function refuseAll({ topics }: OffsetCommitRequest, errorCode: number): OffsetCommitResponse {
  return {
    topics: topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index }) => ({ index, errorCode })),
    })),
  };
}

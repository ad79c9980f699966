import { defineApi } from '../protocol/api.js';
import { consumerProtocol, subscribedTopics } from '../groups/member.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface OffsetDeleteRequest {
  group: string;
  topics: { name: string; partitions: number[] }[];
}

interface OffsetDeleteResponse {
  errorCode: number;
  topics: { name: string; partitions: { index: number; errorCode: number }[] }[];
}

/**
 * OffsetDelete, version 0. While the group has members: only for topics that none of them is subscribed to,
 * and not at all when they are no consumers.
 *
 *     Request  => group_id · [topic · [partition i32]]
 *     Response => error_code i16 · throttle_time_ms i32 · [topic · [partition i32 · error_code i16]]
 */
export const offsetDelete = defineApi<OffsetDeleteRequest, OffsetDeleteResponse>({
  key: 47,
  name: 'OffsetDelete',
  minVersion: 0,
  maxVersion: 0,

  decode: (reader) => ({
    group: reader.string(),
    topics: reader.structs(() => ({ name: reader.string(), partitions: reader.array(() => reader.int32()) })),
  }),

  async handle({ group: id, topics }, { services }) {
    const { groups } = services;
    if (!groups.exists(id)) return { errorCode: ErrorCode.GROUP_ID_NOT_FOUND, topics: [] };
    const members = [...(groups.get(id)?.members.values() ?? [])];
    if (members.length > 0 && groups.get(id)?.protocolType !== consumerProtocol) {
      return { errorCode: ErrorCode.NON_EMPTY_GROUP, topics: [] };
    }
    const subscribed = members.map(({ protocols }) => subscribedTopics(protocols));
    const refusal = (topic: string, partition: number): number => {
      if (services.topics.log(topic, partition) === undefined) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION;
      // A member without readable subscriptions may be reading this topic.
      return subscribed.some((each) => each?.includes(topic) ?? true)
        ? ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
        : ErrorCode.NONE;
    };
    const answer = topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((index) => ({ index, errorCode: refusal(name, index) })),
    }));
    const deleted = answer.flatMap(({ name, partitions }) =>
      partitions
        .filter(({ errorCode }) => errorCode === ErrorCode.NONE)
        .map(({ index }) => ({ topic: name, partition: index })),
    );
    if (deleted.length > 0) await groups.offsets.remove(id, deleted);
    return { errorCode: ErrorCode.NONE, topics: answer };
  },

  encode(writer, { errorCode, topics }) {
    writer.int16(errorCode);
    writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, (partition) => {
        writer.int32(partition.index);
        writer.int16(partition.errorCode);
      });
    });
  },

  refuse: (_request, errorCode) => ({ errorCode, topics: [] }),
});

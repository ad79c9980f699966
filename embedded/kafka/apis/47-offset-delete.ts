import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
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
 * OffsetDelete, version 0. Only while the group has no members: the broker does not read subscriptions, so it can't
 * tell which topics an active group uses. Kafka allows it for topics that no member is subscribed to.
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
    topics: reader.array(() => ({ name: reader.string(), partitions: reader.array(() => reader.int32()) })),
  }),

  async handle(request, context) {
    const errorCode = refusalOf(request, context);
    if (errorCode !== ErrorCode.NONE) return { errorCode, topics: [] };
    const partitions = request.topics.flatMap(({ name, partitions: numbers }) =>
      numbers.map((partition) => ({ topic: name, partition })),
    );
    await context.services.groups.offsets.remove(request.group, partitions);
    return answerAll(request, ErrorCode.NONE);
  },

  encode(writer, { errorCode, topics }) {
    writer.int16(errorCode);
    writer.int32(0);
    writer.array(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.array(partitions, (partition) => {
        writer.int32(partition.index);
        writer.int16(partition.errorCode);
      });
    });
  },

  refuse: (_request, errorCode) => ({ errorCode, topics: [] }),
});

function refusalOf({ group }: OffsetDeleteRequest, { services: { groups } }: RequestContext): number {
  if (!groups.exists(group)) return ErrorCode.GROUP_ID_NOT_FOUND;
  return (groups.get(group)?.members.size ?? 0) > 0 ? ErrorCode.NON_EMPTY_GROUP : ErrorCode.NONE;
}

function answerAll({ topics }: OffsetDeleteRequest, errorCode: number): OffsetDeleteResponse {
  return {
    errorCode,
    topics: topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((index) => ({ index, errorCode })),
    })),
  };
}

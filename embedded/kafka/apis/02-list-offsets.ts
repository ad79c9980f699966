import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { findByTimestamp } from '../storage/timestamp-search.js';

interface ListOffsetsRequest {
  committedOnly: boolean;
  topics: { name: string; partitions: { index: number; timestamp: number }[] }[];
}

interface PartitionOffsetAnswer {
  index: number;
  errorCode: number;
  timestamp: number;
  offset: number;
}

interface ListOffsetsResponse {
  topics: { name: string; partitions: PartitionOffsetAnswer[] }[];
}

const latest = -1;
const earliest = -2;

/**
 * ListOffsets, versions 1–6 (6 flexible). Timestamp −1 requests the end (the last stable offset under
 * read_committed), −2 the start, any other the first record that is not older.
 *
 *     Request  => replica_id i32 · isolation_level i8 (2+)
 *                 · [topic · [partition i32 · current_leader_epoch i32 (4+) · timestamp i64]]
 *     Response => throttle_time_ms i32 (2+)
 *                 · [topic · [partition i32 · error_code i16 · timestamp i64 · offset i64 · leader_epoch i32 (4+)]]
 */
export const listOffsets = defineApi<ListOffsetsRequest, ListOffsetsResponse>({
  key: 2,
  name: 'ListOffsets',
  minVersion: 1,
  maxVersion: 6,
  flexibleFrom: 6,

  decode(reader, version) {
    reader.int32();
    const committedOnly = version >= 2 && reader.int8() === 1;
    const topics = reader.structs(() => ({
      name: reader.string(),
      partitions: reader.structs(() => {
        const index = reader.int32();
        if (version >= 4) reader.int32();
        return { index, timestamp: reader.int64() };
      }),
    }));
    return { committedOnly, topics };
  },

  async handle({ committedOnly, topics }, context) {
    return {
      topics: await Promise.all(
        topics.map(async ({ name, partitions }) => ({
          name,
          partitions: await Promise.all(
            partitions.map(({ index, timestamp }) => find(context, name, index, timestamp, committedOnly)),
          ),
        })),
      ),
    };
  },

  encode(writer, { topics }, version) {
    if (version >= 2) writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, ({ index, errorCode, timestamp, offset }) => {
        writer.int32(index);
        writer.int16(errorCode);
        writer.int64(timestamp);
        writer.int64(offset);
        if (version >= 4) writer.int32(offset < 0 ? -1 : 0);
      });
    });
  },

  refuse: ({ topics }, errorCode) => ({
    topics: topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index }) => ({ index, errorCode, timestamp: -1, offset: -1 })),
    })),
  }),
});

async function find(
  context: RequestContext,
  topic: string,
  index: number,
  timestamp: number,
  committedOnly: boolean,
): Promise<PartitionOffsetAnswer> {
  const log = context.services.topics.log(topic, index);
  if (log === undefined) {
    return { index, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, timestamp: -1, offset: -1 };
  }
  const end = committedOnly ? log.lastStableOffset : log.highWatermark;
  if (timestamp === latest) return { index, errorCode: 0, timestamp: -1, offset: end };
  if (timestamp === earliest) return { index, errorCode: 0, timestamp: -1, offset: log.logStart };
  const found = timestamp < 0 ? undefined : await log.withRepair(() => findByTimestamp(log, timestamp, end));
  return { index, errorCode: 0, timestamp: found?.timestamp ?? -1, offset: found?.offset ?? -1 };
}

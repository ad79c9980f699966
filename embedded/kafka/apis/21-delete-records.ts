import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface DeleteRecordsRequest {
  topics: { name: string; partitions: { index: number; offset: number }[] }[];
}

interface DeletedPartition {
  index: number;
  lowWatermark: number;
  errorCode: number;
}

const highWatermark = -1;

/**
 * DeleteRecords, versions 0–2 (2 flexible). Moves the log start up to the offset; −1 means the high
 * watermark.
 *
 *     Request  => [topic · [partition i32 · offset i64]] · timeout_ms i32
 *     Response => throttle_time_ms i32 · [topic · [partition i32 · low_watermark i64 · error_code i16]]
 */
export const deleteRecords = defineApi<
  DeleteRecordsRequest,
  { name: string; partitions: DeletedPartition[] }[]
>({
  key: 21,
  name: 'DeleteRecords',
  minVersion: 0,
  maxVersion: 2,
  flexibleFrom: 2,

  decode(reader) {
    const topics = reader.structs(() => ({
      name: reader.string(),
      partitions: reader.structs(() => ({ index: reader.int32(), offset: reader.int64() })),
    }));
    reader.int32();
    return { topics };
  },

  handle: ({ topics }, context) =>
    Promise.all(
      topics.map(async ({ name, partitions }) => ({
        name,
        partitions: await Promise.all(
          partitions.map(({ index, offset }) => trim(context, name, index, offset)),
        ),
      })),
    ),

  encode(writer, topics) {
    writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, ({ index, lowWatermark, errorCode }) => {
        writer.int32(index);
        writer.int64(lowWatermark);
        writer.int16(errorCode);
      });
    });
  },

  refuse: ({ topics }, errorCode) =>
    topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index }) => ({ index, lowWatermark: -1, errorCode })),
    })),
});

async function trim(
  context: RequestContext,
  topic: string,
  index: number,
  offset: number,
): Promise<DeletedPartition> {
  const { topics } = context.services;
  const log = topics.log(topic, index);
  if (log === undefined) return { index, lowWatermark: -1, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION };
  // As in Redpanda and Apache Kafka: in a compacted topic the first records may be the newest of their keys.
  if (!log.config.drop) return { index, lowWatermark: -1, errorCode: ErrorCode.POLICY_VIOLATION };
  const upTo = offset === highWatermark ? log.highWatermark : offset;
  if (upTo < 0 || upTo > log.highWatermark) {
    return { index, lowWatermark: -1, errorCode: ErrorCode.OFFSET_OUT_OF_RANGE };
  }
  await topics.deleteRecords(log, upTo);
  return { index, lowWatermark: log.logStart, errorCode: ErrorCode.NONE };
}

import { defineApi } from '../protocol/api.js';
import type { Outcome } from '../storage/topics.js';

interface CreatePartitionsRequest {
  topics: { name: string; count: number }[];
  validateOnly: boolean;
}

/**
 * CreatePartitions, versions 0–3 (2 and 3 flexible). `count` is the number of partitions afterwards.
 * Assignments are read and ignored: there is one broker.
 *
 *     Request  => [name · count i32 · [[broker_id i32]] nullable] · timeout_ms i32 · validate_only bool
 *     Response => throttle_time_ms i32 · [name · error_code i16 · error_message nullable]
 */
export const createPartitions = defineApi<CreatePartitionsRequest, (Outcome & { name: string })[]>({
  key: 37,
  name: 'CreatePartitions',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 2,

  decode(reader) {
    const topics = reader.structs(() => {
      const topic = { name: reader.string(), count: reader.int32() };
      reader.nullableStructs(() => reader.array(() => reader.int32()));
      return topic;
    });
    reader.int32();
    return { topics, validateOnly: reader.boolean() };
  },

  handle: ({ topics, validateOnly }, { services }) =>
    Promise.all(
      topics.map(async ({ name, count }) => ({
        name,
        ...(await services.topics.grow(name, count, validateOnly)),
      })),
    ),

  encode(writer, results) {
    writer.int32(0);
    writer.structs(results, ({ name, errorCode, message }) => {
      writer.string(name);
      writer.int16(errorCode);
      writer.nullableString(message);
    });
  },

  refuse: ({ topics }, errorCode) => topics.map(({ name }) => ({ name, errorCode, message: null })),
});

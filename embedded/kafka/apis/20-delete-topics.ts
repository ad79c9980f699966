import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

/**
 * DeleteTopics, versions 1–3. The records, and the offsets that groups have committed for the topic, are gone when it
 * is answered.
 *
 *     Request  => [name] · timeout_ms i32
 *     Response => throttle_time_ms i32 · [name · error_code i16]
 */
export const deleteTopics = defineApi<string[], { name: string; errorCode: number }[]>({
  key: 20,
  name: 'DeleteTopics',
  minVersion: 1,
  maxVersion: 3,

  decode: (reader) => reader.array(() => reader.string()),

  handle: (names, { services }) =>
    Promise.all(
      names.map(async (name) => {
        const { errorCode } = await services.topics.delete(name);
        if (errorCode === ErrorCode.NONE) await services.groups.topicDeleted(name);
        return { name, errorCode };
      }),
    ),

  encode(writer, results) {
    writer.int32(0);
    writer.array(results, ({ name, errorCode }) => {
      writer.string(name);
      writer.int16(errorCode);
    });
  },

  refuse: (names, errorCode) => names.map((name) => ({ name, errorCode })),
});

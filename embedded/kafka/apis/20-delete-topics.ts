import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { Outcome } from '../storage/topics.js';
import { noTopicId } from './topic-ids.js';

interface NamedTopic {
  /** `null` when the topic is named by its id. */
  name: string | null;
  id: string;
}

/**
 * DeleteTopics, versions 1–6 (4 and later flexible). Answered when the records, and the groups' committed
 * offsets of the topic, are removed. Topics have no ids: one that is named by its id is UNKNOWN_TOPIC_ID.
 *
 *     Request  => [name] (1–5) · [name nullable · topic_id uuid] (6) · timeout_ms i32
 *     Response => throttle_time_ms i32 · [name (6: nullable) · topic_id uuid (6) · error_code i16
 *                 · error_message nullable (5+)]
 */
export const deleteTopics = defineApi<NamedTopic[], (NamedTopic & Outcome)[]>({
  key: 20,
  name: 'DeleteTopics',
  minVersion: 1,
  maxVersion: 6,
  flexibleFrom: 4,

  decode(reader, version) {
    const topics =
      version >= 6
        ? reader.structs(() => ({ name: reader.nullableString(), id: reader.uuid() }))
        : reader.array(() => ({ name: reader.string(), id: noTopicId }));
    reader.int32();
    return topics;
  },

  handle: (topics, { services }) =>
    Promise.all(
      topics.map(async ({ name, id }) => {
        if (name === null) {
          const message = 'This broker knows topics by their names alone.';
          return { name, id, errorCode: ErrorCode.UNKNOWN_TOPIC_ID, message };
        }
        const outcome = await services.topics.delete(name);
        if (outcome.errorCode === ErrorCode.NONE) await services.groups.topicDeleted(name);
        return { name, id, ...outcome };
      }),
    ),

  encode(writer, results, version) {
    writer.int32(0);
    writer.structs(results, ({ name, id, errorCode, message }) => {
      writer.nullableString(name);
      if (version >= 6) writer.uuid(id);
      writer.int16(errorCode);
      if (version >= 5) writer.nullableString(message);
    });
  },

  refuse: (topics, errorCode) => topics.map((topic) => ({ ...topic, errorCode, message: null })),
});

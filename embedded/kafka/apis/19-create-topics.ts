import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { Outcome } from '../storage/topics.js';

interface NewTopic {
  name: string;
  partitions: number;
  replicationFactor: number;
  assignments: { partition: number; brokers: number[] }[];
  configs: { name: string; value: string | null }[];
}

interface CreateTopicsRequest {
  topics: NewTopic[];
  validateOnly: boolean;
}

/**
 * CreateTopics, versions 2–4. One node: the replication factor is 1, or −1 for the default. In version 4 the number of
 * partitions can be −1 for the default too.
 *
 *     Request  => [name · num_partitions i32 · replication_factor i16 · [partition i32 · [broker_id i32]]
 *                 · [config name · value nullable]] · timeout_ms i32 · validate_only bool
 *     Response => throttle_time_ms i32 · [name · error_code i16 · error_message nullable]
 */
export const createTopics = defineApi<CreateTopicsRequest, (Outcome & { name: string })[]>({
  key: 19,
  name: 'CreateTopics',
  minVersion: 2,
  maxVersion: 4,

  decode(reader) {
    const topics = reader.array(() => ({
      name: reader.string(),
      partitions: reader.int32(),
      replicationFactor: reader.int16(),
      assignments: reader.array(() => ({
        partition: reader.int32(),
        brokers: reader.array(() => reader.int32()),
      })),
      configs: reader.array(() => ({ name: reader.string(), value: reader.nullableString() })),
    }));
    reader.int32();
    return { topics, validateOnly: reader.boolean() };
  },

  handle({ topics, validateOnly }, context) {
    const names = topics.map(({ name }) => name);
    return Promise.all(
      topics.map(async (topic) => {
        const repeated = names.filter((name) => name === topic.name).length > 1;
        const outcome = repeated
          ? { errorCode: ErrorCode.INVALID_REQUEST, message: `Topic ${topic.name} is named twice.` }
          : await create(topic, validateOnly, context);
        return { name: topic.name, ...outcome };
      }),
    );
  },

  encode(writer, results) {
    writer.int32(0);
    writer.array(results, ({ name, errorCode, message }) => {
      writer.string(name);
      writer.int16(errorCode);
      writer.nullableString(message);
    });
  },

  refuse: ({ topics }, errorCode) => topics.map(({ name }) => ({ name, errorCode, message: null })),
});

async function create(
  topic: NewTopic,
  validateOnly: boolean,
  { services }: RequestContext,
): Promise<Outcome> {
  if (topic.assignments.length === 0 && topic.replicationFactor !== 1 && topic.replicationFactor !== -1) {
    const message = `Replication factor ${topic.replicationFactor}: there is one broker, so it must be 1.`;
    return { errorCode: ErrorCode.INVALID_REPLICATION_FACTOR, message };
  }
  const asked = topic.assignments.length > 0 ? topic.assignments.length : topic.partitions;
  const partitions = asked === -1 ? services.defaultPartitions : asked;
  const configs: Record<string, string> = {};
  for (const { name, value } of topic.configs) if (value !== null) configs[name] = value;
  return validateOnly
    ? services.topics.checkCreate(topic.name, partitions, configs)
    : await services.topics.create(topic.name, partitions, configs);
}

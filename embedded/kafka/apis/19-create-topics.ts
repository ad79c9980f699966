import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { ConfigValues } from '../storage/topic-config.js';
import type { Outcome } from '../storage/topics.js';
import { describeTopicConfigs } from './config-resources.js';
import { noTopicId } from './topic-ids.js';

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

interface CreatedTopic extends Outcome {
  name: string;
  /** Settings that the topic has, or would have; none when it is refused. */
  made?: { partitions: number; configs: ConfigValues };
}

/**
 * CreateTopics, versions 2–7 (5 and later flexible). One node: the replication factor is 1, or −1 for the
 * default. From version 4 on the number of partitions can be −1 for the default too; from version 5 on the
 * answer has the topic's settings. Topics have no ids: version 7 answers the zero id.
 *
 *     Request  => [name · num_partitions i32 · replication_factor i16 · [partition i32 · [broker_id i32]]
 *                 · [config name · value nullable]] · timeout_ms i32 · validate_only bool
 *     Response => throttle_time_ms i32 · [name · topic_id uuid (7) · error_code i16 · error_message nullable
 *                 · num_partitions i32, replication_factor i16 (5+)
 *                 · [config name · value nullable · read_only bool · config_source i8 · is_sensitive bool] (5+)]
 */
export const createTopics = defineApi<CreateTopicsRequest, CreatedTopic[]>({
  key: 19,
  name: 'CreateTopics',
  minVersion: 2,
  maxVersion: 7,
  flexibleFrom: 5,

  decode(reader) {
    const topics = reader.structs(() => ({
      name: reader.string(),
      partitions: reader.int32(),
      replicationFactor: reader.int16(),
      assignments: reader.structs(() => ({
        partition: reader.int32(),
        brokers: reader.array(() => reader.int32()),
      })),
      configs: reader.structs(() => ({ name: reader.string(), value: reader.nullableString() })),
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

  encode(writer, results, version) {
    writer.int32(0);
    writer.structs(results, ({ name, errorCode, message, made }) => {
      writer.string(name);
      if (version >= 7) writer.uuid(noTopicId);
      writer.int16(errorCode);
      writer.nullableString(message);
      if (version < 5) return;
      writer.int32(made?.partitions ?? -1);
      writer.int16(made === undefined ? -1 : 1);
      writer.nullableStructs(made === undefined ? null : describeTopicConfigs(made.configs), (config) => {
        writer.string(config.name);
        writer.nullableString(config.value);
        writer.boolean(config.readOnly);
        writer.int8(config.source);
        writer.boolean(false);
      });
    });
  },

  refuse: ({ topics }, errorCode) => topics.map(({ name }) => ({ name, errorCode, message: null })),
});

async function create(
  topic: NewTopic,
  validateOnly: boolean,
  { services }: RequestContext,
): Promise<Omit<CreatedTopic, 'name'>> {
  if (topic.assignments.length === 0 && topic.replicationFactor !== 1 && topic.replicationFactor !== -1) {
    const message = `Replication factor ${topic.replicationFactor}: there is one broker, so it must be 1.`;
    return { errorCode: ErrorCode.INVALID_REPLICATION_FACTOR, message };
  }
  const asked = topic.assignments.length > 0 ? topic.assignments.length : topic.partitions;
  const partitions = asked === -1 ? services.defaultPartitions : asked;
  const configs: Record<string, string> = {};
  for (const { name, value } of topic.configs) if (value !== null) configs[name] = value;
  const outcome = validateOnly
    ? services.topics.checkCreate(topic.name, partitions, configs)
    : await services.topics.create(topic.name, partitions, configs);
  return outcome.errorCode === ErrorCode.NONE ? { ...outcome, made: { partitions, configs } } : outcome;
}

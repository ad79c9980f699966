import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { nodeId } from '../services.js';
import type { Services } from '../services.js';
import { configType } from '../storage/topic-config.js';
import type { ConfigType } from '../storage/topic-config.js';
import { configSource, describeTopicConfigs, resourceType } from './config-resources.js';
import type { ConfigResource, DescribedConfig } from './config-resources.js';

interface DescribedResource extends ConfigResource {
  errorCode: number;
  message: string | null;
  configs: DescribedConfig[];
}

interface DescribeConfigsRequest {
  resources: (ConfigResource & { names: string[] | null })[];
  includeSynonyms: boolean;
  includeDocumentation: boolean;
}

interface DescribeConfigsResponse {
  resources: DescribedResource[];
  includeSynonyms: boolean;
  includeDocumentation: boolean;
}

/**
 * DescribeConfigs, versions 1–4 (4 flexible): all settings of topics, and the few of the broker that clients
 * read.
 *
 *     Request  => [type i8 · name · [config_name] nullable = all] · include_synonyms bool · include_documentation bool (3)
 *     Response => throttle_time_ms i32 · [error_code i16 · error_message nullable · type i8 · name
 *                 · [name · value nullable · read_only bool · config_source i8 · is_sensitive bool
 *                   · synonyms [name · value nullable · source i8] · config_type i8, documentation nullable (3)]]
 */
export const describeConfigs = defineApi<DescribeConfigsRequest, DescribeConfigsResponse>({
  key: 32,
  name: 'DescribeConfigs',
  minVersion: 1,
  maxVersion: 4,
  flexibleFrom: 4,

  decode(reader, version) {
    const resources = reader.structs(() => ({
      type: reader.int8(),
      name: reader.string(),
      names: reader.nullableArray(() => reader.string()),
    }));
    return {
      resources,
      includeSynonyms: reader.boolean(),
      includeDocumentation: version >= 3 && reader.boolean(),
    };
  },

  handle: ({ resources, includeSynonyms, includeDocumentation }, { services }) => ({
    resources: resources.map(({ type, name, names }) => {
      const described = describe(services, { type, name });
      const configs = described.configs.filter((config) => names === null || names.includes(config.name));
      return { ...described, configs };
    }),
    includeSynonyms,
    includeDocumentation,
  }),

  encode(writer, { resources, includeSynonyms, includeDocumentation }, version) {
    writer.int32(0);
    writer.structs(resources, ({ errorCode, message, type, name, configs }) => {
      writer.int16(errorCode);
      writer.nullableString(message);
      writer.int8(type);
      writer.string(name);
      writer.structs(configs, (config) => {
        writer.string(config.name);
        writer.nullableString(config.value);
        writer.boolean(config.readOnly);
        writer.int8(config.source);
        writer.boolean(false);
        writer.structs(includeSynonyms ? [config] : [], (synonym) => {
          writer.string(synonym.name);
          writer.nullableString(synonym.value);
          writer.int8(synonym.source);
        });
        if (version < 3) return;
        writer.int8(config.type);
        writer.nullableString(includeDocumentation ? config.documentation : null);
      });
    });
  },

  refuse: ({ resources }, errorCode) => ({
    resources: resources.map(({ type, name }) => ({ type, name, errorCode, message: null, configs: [] })),
    includeSynonyms: false,
    includeDocumentation: false,
  }),
});

function describe(services: Services, resource: ConfigResource): DescribedResource {
  const nothing = { ...resource, message: null, configs: [] };
  if (resource.type === resourceType.broker) {
    // Without a name: the dynamic settings of all brokers, of which there are none.
    if (resource.name === '') return { ...nothing, errorCode: ErrorCode.NONE };
    if (resource.name !== String(nodeId)) {
      return {
        ...nothing,
        errorCode: ErrorCode.INVALID_REQUEST,
        message: `There is no broker ${resource.name}.`,
      };
    }
    return { ...nothing, errorCode: ErrorCode.NONE, configs: brokerConfigs(services) };
  }
  if (resource.type !== resourceType.topic) return { ...nothing, errorCode: ErrorCode.INVALID_REQUEST };
  const topic = services.topics.get(resource.name);
  if (topic === undefined) return { ...nothing, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION };
  const configs = describeTopicConfigs(topic.configs);
  return { ...nothing, errorCode: ErrorCode.NONE, configs };
}

function brokerConfigs(services: Services): DescribedConfig[] {
  const described = (
    name: string,
    type: ConfigType,
    value: unknown,
    documentation: string,
  ): DescribedConfig => ({
    name,
    value: String(value),
    readOnly: true,
    source: configSource.staticBroker,
    type: configType[type],
    documentation,
  });
  return [
    described('broker.id', 'int', nodeId, 'The one node.'),
    described(
      'auto.create.topics.enable',
      'boolean',
      services.autoCreateTopics,
      'Whether a topic is made when a client names it for the first time.',
    ),
    described(
      'num.partitions',
      'int',
      services.defaultPartitions,
      'Partitions of a topic that is made without saying how many.',
    ),
    described('default.replication.factor', 'int', 1, 'One node has one replica.'),
  ];
}

import type { Writer } from '../protocol/writer.js';
import type { Services } from '../services.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { configType, topicConfigs } from '../storage/topic-config.js';
import type { ConfigValues } from '../storage/topic-config.js';
import type { Outcome } from '../storage/topics.js';

/** Owners of settings, in DescribeConfigs, AlterConfigs and IncrementalAlterConfigs. */
export interface ConfigResource {
  type: number;
  name: string;
}

export const resourceType = { topic: 2, broker: 4 } as const;

/** Source of a value, in DescribeConfigs and CreateTopics. */
export const configSource = { topic: 1, staticBroker: 4, default: 5 } as const;

export interface DescribedConfig {
  name: string;
  value: string;
  readOnly: boolean;
  source: number;
  type: number;
  documentation: string;
}

/** Returns all settings of a topic: its own, and the defaults of the others. */
export function describeTopicConfigs(configs: ConfigValues): DescribedConfig[] {
  return Object.entries(topicConfigs).map(([name, definition]) => ({
    name,
    value: configs[name] ?? definition.default,
    readOnly: false,
    source: name in configs ? configSource.topic : configSource.default,
    type: configType[definition.type],
    documentation: definition.documentation,
  }));
}

export type AlteredResource = ConfigResource & Outcome;

/** Replaces a topic's settings by the result of `change`; other resources can't be altered. */
export async function alterTopicConfigs(
  services: Services,
  { type, name }: ConfigResource,
  change: (configs: ConfigValues) => ConfigValues | string,
  validateOnly: boolean,
): Promise<AlteredResource> {
  const refused = (errorCode: number, message: string): AlteredResource => ({
    type,
    name,
    errorCode,
    message,
  });
  if (type !== resourceType.topic) {
    return refused(
      ErrorCode.INVALID_REQUEST,
      'Only settings of topics can be altered; the broker gets its own at its start.',
    );
  }
  const topic = services.topics.get(name);
  if (topic === undefined) return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${name}.`);
  const changed = change(topic.configs);
  if (typeof changed === 'string') return refused(ErrorCode.INVALID_REQUEST, changed);
  return { type, name, ...(await services.topics.configure(name, changed, validateOnly)) };
}

/** `Response => throttle_time_ms i32 · [error_code i16 · error_message nullable · type i8 · name]` */
export function encodeAltered(writer: Writer, resources: readonly AlteredResource[]): void {
  writer.int32(0);
  writer.structs(resources, ({ errorCode, message, type, name }) => {
    writer.int16(errorCode);
    writer.nullableString(message);
    writer.int8(type);
    writer.string(name);
  });
}

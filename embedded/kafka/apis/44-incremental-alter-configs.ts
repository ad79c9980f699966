import { defineApi } from '../protocol/api.js';
import { topicConfigs } from '../storage/topic-config.js';
import type { ConfigValues } from '../storage/topic-config.js';
import { alterTopicConfigs, encodeAltered } from './config-resources.js';
import type { AlteredResource, ConfigResource } from './config-resources.js';

interface ConfigChange {
  name: string;
  operation: number;
  value: string | null;
}

interface IncrementalAlterConfigsRequest {
  resources: (ConfigResource & { changes: ConfigChange[] })[];
  validateOnly: boolean;
}

const operation = { set: 0, remove: 1, append: 2, subtract: 3 } as const;

/**
 * IncrementalAlterConfigs, versions 0–1 (1 flexible): sets, resets, or (for lists) extends and shortens
 * single settings of a topic.
 *
 *     Request  => [type i8 · name · [name · operation i8 · value nullable]] · validate_only bool
 *     Response => throttle_time_ms i32 · [error_code i16 · error_message nullable · type i8 · name]
 */
export const incrementalAlterConfigs = defineApi<IncrementalAlterConfigsRequest, AlteredResource[]>({
  key: 44,
  name: 'IncrementalAlterConfigs',
  minVersion: 0,
  maxVersion: 1,
  flexibleFrom: 1,

  decode: (reader) => ({
    resources: reader.structs(() => ({
      type: reader.int8(),
      name: reader.string(),
      changes: reader.structs(() => ({
        name: reader.string(),
        operation: reader.int8(),
        value: reader.nullableString(),
      })),
    })),
    validateOnly: reader.boolean(),
  }),

  handle: ({ resources, validateOnly }, { services }) =>
    Promise.all(
      resources.map(({ changes, ...resource }) =>
        alterTopicConfigs(services, resource, (configs) => applyChanges(configs, changes), validateOnly),
      ),
    ),

  encode: encodeAltered,

  refuse: ({ resources }, errorCode) =>
    resources.map(({ type, name }) => ({ type, name, errorCode, message: null })),
});

function applyChanges(configs: ConfigValues, changes: readonly ConfigChange[]): ConfigValues | string {
  const values: Record<string, string> = { ...configs };
  for (const { name, operation: kind, value } of changes) {
    if (kind === operation.remove) {
      delete values[name];
      continue;
    }
    if (value === null) return `Config ${name} needs a value.`;
    if (kind === operation.set) values[name] = value;
    else if (topicConfigs[name]?.type !== 'list')
      return `Config ${name} is not a list: it can only be set or deleted.`;
    else
      values[name] = changeList(values[name] ?? topicConfigs[name].default, value, kind === operation.append);
  }
  return values;
}

function changeList(current: string, change: string, append: boolean): string {
  const items = new Set(current.split(',').filter((item) => item !== ''));
  for (const item of change.split(',')) {
    if (append) items.add(item);
    else items.delete(item);
  }
  return [...items].join(',');
}

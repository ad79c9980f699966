import { defineApi } from '../protocol/api.js';
import { alterTopicConfigs, encodeAltered } from './config-resources.js';
import type { AlteredResource, ConfigResource } from './config-resources.js';

interface AlterConfigsRequest {
  resources: (ConfigResource & { configs: { name: string; value: string | null }[] })[];
  validateOnly: boolean;
}

/**
 * AlterConfigs, versions 0–2 (2 flexible). Replaces all settings of a topic: missing or null ones return to
 * their defaults.
 *
 *     Request  => [type i8 · name · [name · value nullable]] · validate_only bool
 *     Response => throttle_time_ms i32 · [error_code i16 · error_message nullable · type i8 · name]
 */
export const alterConfigs = defineApi<AlterConfigsRequest, AlteredResource[]>({
  key: 33,
  name: 'AlterConfigs',
  minVersion: 0,
  maxVersion: 2,
  flexibleFrom: 2,

  decode: (reader) => ({
    resources: reader.structs(() => ({
      type: reader.int8(),
      name: reader.string(),
      configs: reader.structs(() => ({ name: reader.string(), value: reader.nullableString() })),
    })),
    validateOnly: reader.boolean(),
  }),

  handle: ({ resources, validateOnly }, { services }) =>
    Promise.all(
      resources.map(({ configs, ...resource }) => {
        const values: Record<string, string> = {};
        for (const { name, value } of configs) if (value !== null) values[name] = value;
        return alterTopicConfigs(services, resource, () => values, validateOnly);
      }),
    ),

  encode: encodeAltered,

  refuse: ({ resources }, errorCode) =>
    resources.map(({ type, name }) => ({ type, name, errorCode, message: null })),
});

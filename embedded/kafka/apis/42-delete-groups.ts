import { defineApi } from '../protocol/api.js';

/**
 * DeleteGroups, versions 0–2 (2 flexible). Only groups without members can be deleted, together with their
 * offsets.
 *
 *     Request  => [group_id]
 *     Response => throttle_time_ms i32 · [group_id · error_code i16]
 */
export const deleteGroups = defineApi<string[], { id: string; errorCode: number }[]>({
  key: 42,
  name: 'DeleteGroups',
  minVersion: 0,
  maxVersion: 2,
  flexibleFrom: 2,

  decode: (reader) => reader.array(() => reader.string()),

  handle: (ids, { services }) =>
    Promise.all(ids.map(async (id) => ({ id, errorCode: await services.groups.delete(id) }))),

  encode(writer, results) {
    writer.int32(0);
    writer.structs(results, ({ id, errorCode }) => {
      writer.string(id);
      writer.int16(errorCode);
    });
  },

  refuse: (ids, errorCode) => ids.map((id) => ({ id, errorCode })),
});

import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface ListGroupsResponse {
  errorCode: number;
  groups: { id: string; protocolType: string }[];
}

/**
 * ListGroups, versions 0–2: groups with members, and those of which only offsets are left.
 *
 *     Request  => (empty)
 *     Response => throttle_time_ms i32 (1+) · error_code i16 · [group_id · protocol_type]
 */
export const listGroups = defineApi<null, ListGroupsResponse>({
  key: 16,
  name: 'ListGroups',
  minVersion: 0,
  maxVersion: 2,

  decode: () => null,

  handle: (_request, { services: { groups } }) => ({
    errorCode: ErrorCode.NONE,
    groups: groups.ids().map((id) => ({ id, protocolType: groups.get(id)?.protocolType ?? '' })),
  }),

  encode(writer, { errorCode, groups }, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
    writer.array(groups, ({ id, protocolType }) => {
      writer.string(id);
      writer.string(protocolType);
    });
  },

  refuse: (_request, errorCode) => ({ errorCode, groups: [] }),
});

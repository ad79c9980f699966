import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface ListGroupsResponse {
  errorCode: number;
  groups: { id: string; protocolType: string; state: string }[];
}

/**
 * ListGroups, versions 0–4 (3 and 4 flexible): groups with members, and those with only offsets left. From
 * version 4 on only those in one of the named states, case-insensitive (KIP-518); no name means all.
 *
 *     Request  => [state] (4)
 *     Response => throttle_time_ms i32 (1+) · error_code i16 · [group_id · protocol_type · state (4)]
 */
export const listGroups = defineApi<string[], ListGroupsResponse>({
  key: 16,
  name: 'ListGroups',
  minVersion: 0,
  maxVersion: 4,
  flexibleFrom: 3,

  decode: (reader, version) => (version >= 4 ? reader.array(() => reader.string()) : []),

  handle(states, { services: { groups } }) {
    const wanted = new Set(states.map((state) => state.toLowerCase()));
    return {
      errorCode: ErrorCode.NONE,
      groups: groups
        .ids()
        .map((id) => ({ id, protocolType: groups.get(id)?.protocolType ?? '', state: groups.stateOf(id) }))
        .filter(({ state }) => wanted.size === 0 || wanted.has(state.toLowerCase())),
    };
  },

  encode(writer, { errorCode, groups }, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
    writer.structs(groups, ({ id, protocolType, state }) => {
      writer.string(id);
      writer.string(protocolType);
      if (version >= 4) writer.string(state);
    });
  },

  refuse: (_states, errorCode) => ({ errorCode, groups: [] }),
});

import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface HeartbeatRequest {
  group: string;
  generation: number;
  memberId: string;
  instanceId: string | null;
}

/**
 * Heartbeat, versions 0–4 (4 flexible). While the group rebalances the answer is REBALANCE_IN_PROGRESS: join
 * again.
 *
 *     Request  => group_id · generation_id i32 · member_id · group_instance_id nullable (3+)
 *     Response => throttle_time_ms i32 (1+) · error_code i16
 */
export const heartbeat = defineApi<HeartbeatRequest, number>({
  key: 12,
  name: 'Heartbeat',
  minVersion: 0,
  maxVersion: 4,
  flexibleFrom: 4,

  decode: (reader, version) => ({
    group: reader.string(),
    generation: reader.int32(),
    memberId: reader.string(),
    instanceId: version >= 3 ? reader.nullableString() : null,
  }),

  handle: ({ group, memberId, instanceId, generation }, { services }) =>
    services.groups.get(group)?.heartbeat(memberId, instanceId, generation) ?? ErrorCode.UNKNOWN_MEMBER_ID,

  encode(writer, errorCode, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
  },

  refuse: (_request, errorCode) => errorCode,
});

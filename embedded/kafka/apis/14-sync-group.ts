import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { SyncAnswer } from '../groups/member.js';

interface SyncGroupRequest {
  group: string;
  generation: number;
  memberId: string;
  instanceId: string | null;
  assignments: { memberId: string; assignment: Buffer }[];
}

/**
 * SyncGroup, versions 0–3. Answered when the leader has sent everyone's assignment.
 *
 *     Request  => group_id · generation_id i32 · member_id · group_instance_id nullable (3+)
 *                 · [member_id · assignment bytes]
 *     Response => throttle_time_ms i32 (1+) · error_code i16 · assignment bytes
 */
export const syncGroup = defineApi<SyncGroupRequest, SyncAnswer>({
  key: 14,
  name: 'SyncGroup',
  minVersion: 0,
  maxVersion: 3,

  decode: (reader, version) => ({
    group: reader.string(),
    generation: reader.int32(),
    memberId: reader.string(),
    instanceId: version >= 3 ? reader.nullableString() : null,
    assignments: reader.array(() => ({ memberId: reader.string(), assignment: reader.byteString() })),
  }),

  handle: ({ group, memberId, instanceId, generation, assignments }, { services }) =>
    services.groups.get(group)?.sync(memberId, instanceId, generation, assignments) ??
    refused(ErrorCode.UNKNOWN_MEMBER_ID),

  encode(writer, { errorCode, assignment }, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
    writer.byteString(assignment);
  },

  refuse: (_request, errorCode) => refused(errorCode),
});

function refused(errorCode: number): SyncAnswer {
  return { errorCode, assignment: Buffer.alloc(0) };
}

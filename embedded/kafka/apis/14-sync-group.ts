import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { SyncAnswer } from '../groups/member.js';

interface SyncGroupRequest {
  group: string;
  generation: number;
  memberId: string;
  instanceId: string | null;
  /** The group's, as the member knows it; `null` when not given. */
  protocolType: string | null;
  protocol: string | null;
  assignments: { memberId: string; assignment: Buffer }[];
}

interface SyncGroupResponse extends SyncAnswer {
  protocolType: string | null;
  protocol: string | null;
}

/**
 * SyncGroup, versions 0–5 (4 and 5 flexible). Answered when the leader has sent all assignments.
 *
 *     Request  => group_id · generation_id i32 · member_id · group_instance_id nullable (3+)
 *                 · protocol_type nullable, protocol_name nullable (5+) · [member_id · assignment bytes]
 *     Response => throttle_time_ms i32 (1+) · error_code i16 · protocol_type nullable, protocol_name nullable (5+)
 *                 · assignment bytes
 */
export const syncGroup = defineApi<SyncGroupRequest, SyncGroupResponse>({
  key: 14,
  name: 'SyncGroup',
  minVersion: 0,
  maxVersion: 5,
  flexibleFrom: 4,

  decode: (reader, version) => ({
    group: reader.string(),
    generation: reader.int32(),
    memberId: reader.string(),
    instanceId: version >= 3 ? reader.nullableString() : null,
    protocolType: version >= 5 ? reader.nullableString() : null,
    protocol: version >= 5 ? reader.nullableString() : null,
    assignments: reader.structs(() => ({ memberId: reader.string(), assignment: reader.byteString() })),
  }),

  async handle(request, { services }) {
    const { memberId, instanceId, generation, assignments } = request;
    const group = services.groups.get(request.group);
    if (group === undefined) return refused(ErrorCode.UNKNOWN_MEMBER_ID);
    const { protocolType, protocol } = group;
    const believes = (theirs: string | null, ours: string): boolean => theirs === null || theirs === ours;
    if (!believes(request.protocolType, protocolType) || !believes(request.protocol, protocol)) {
      return refused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL);
    }
    const answer = await group.sync(memberId, instanceId, generation, assignments);
    return answer.errorCode === ErrorCode.NONE
      ? { ...answer, protocolType, protocol }
      : refused(answer.errorCode);
  },

  encode(writer, { errorCode, protocolType, protocol, assignment }, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
    if (version >= 5) {
      writer.nullableString(protocolType);
      writer.nullableString(protocol);
    }
    writer.byteString(assignment);
  },

  refuse: (_request, errorCode) => refused(errorCode),
});

function refused(errorCode: number): SyncGroupResponse {
  return { errorCode, protocolType: null, protocol: null, assignment: Buffer.alloc(0) };
}

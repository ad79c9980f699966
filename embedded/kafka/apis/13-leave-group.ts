import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';

interface LeaveGroupRequest {
  group: string;
  members: { memberId: string; instanceId: string | null }[];
}

interface LeaveGroupResponse {
  errorCode: number;
  members: { memberId: string; instanceId: string | null; errorCode: number }[];
}

/**
 * LeaveGroup, versions 0–5 (4 and 5 flexible). From version 3 on several members, also by instance id only
 * (KIP-345).
 *
 *     Request (0–2)  => group_id · member_id
 *     Request (3+)   => group_id · [member_id · group_instance_id nullable · reason nullable (5+)]
 *     Response       => throttle_time_ms i32 (1+) · error_code i16
 *                       · [member_id · group_instance_id nullable · error_code i16] (3+)
 */
export const leaveGroup = defineApi<LeaveGroupRequest, LeaveGroupResponse>({
  key: 13,
  name: 'LeaveGroup',
  minVersion: 0,
  maxVersion: 5,
  flexibleFrom: 4,

  decode(reader, version) {
    const group = reader.string();
    if (version < 3) return { group, members: [{ memberId: reader.string(), instanceId: null }] };
    const members = reader.structs(() => {
      const member = { memberId: reader.string(), instanceId: reader.nullableString() };
      if (version >= 5) reader.nullableString();
      return member;
    });
    return { group, members };
  },

  handle(request, { services, version }) {
    const group = services.groups.get(request.group);
    const members = request.members.map((member) => {
      const errorCode = group?.leave(member.memberId, member.instanceId) ?? ErrorCode.UNKNOWN_MEMBER_ID;
      return { ...member, errorCode };
    });
    return { errorCode: version < 3 ? (members[0]?.errorCode ?? ErrorCode.NONE) : ErrorCode.NONE, members };
  },

  encode(writer, { errorCode, members }, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
    if (version < 3) return;
    writer.structs(members, (member) => {
      writer.string(member.memberId);
      writer.nullableString(member.instanceId);
      writer.int16(member.errorCode);
    });
  },

  refuse: ({ members }, errorCode) => ({
    errorCode,
    members: members.map((member) => ({ ...member, errorCode })),
  }),
});

import { defineApi } from '../protocol/api.js';
import { joinError } from '../groups/group.js';
import type { JoinAnswer, Protocol } from '../groups/member.js';

interface JoinGroupRequest {
  group: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  memberId: string;
  instanceId: string | null;
  protocolType: string;
  protocols: Protocol[];
}

/**
 * JoinGroup, versions 0–8 (6 and later flexible). Answered when the rebalance has all its members. From
 * version 4 on a new member gets MEMBER_ID_REQUIRED and an id first; from version 5 on members can be static
 * (KIP-345).
 *
 *     Request  => group_id · session_timeout_ms i32 · rebalance_timeout_ms i32 (1+) · member_id
 *                 · group_instance_id nullable (5+) · protocol_type · [name · metadata bytes]
 *                 · reason nullable (8+)
 *     Response => throttle_time_ms i32 (2+) · error_code i16 · generation_id i32 · protocol_type nullable (7+)
 *                 · protocol_name (7+: nullable) · leader · member_id
 *                 · [member_id · group_instance_id nullable (5+) · metadata bytes]
 */
export const joinGroup = defineApi<JoinGroupRequest, JoinAnswer>({
  key: 11,
  name: 'JoinGroup',
  minVersion: 0,
  maxVersion: 8,
  flexibleFrom: 6,

  decode(reader, version) {
    const group = reader.string();
    const sessionTimeoutMs = reader.int32();
    const rebalanceTimeoutMs = version >= 1 ? reader.int32() : sessionTimeoutMs;
    const memberId = reader.string();
    const instanceId = version >= 5 ? reader.nullableString() : null;
    const protocolType = reader.string();
    const protocols = reader.structs(() => ({ name: reader.string(), metadata: reader.byteString() }));
    if (version >= 8) reader.nullableString();
    return { group, sessionTimeoutMs, rebalanceTimeoutMs, memberId, instanceId, protocolType, protocols };
  },

  handle: ({ group, ...request }, { services, version, clientId, clientHost }) =>
    services.groups.join(group, { ...request, clientId, clientHost, requiresKnownMemberId: version >= 4 }),

  encode(writer, answer, version) {
    if (version >= 2) writer.int32(0);
    writer.int16(answer.errorCode);
    writer.int32(answer.generation);
    if (version >= 7) writer.nullableString(answer.protocolType);
    writer.string(answer.protocol);
    writer.string(answer.leader);
    writer.string(answer.memberId);
    writer.structs(answer.members, ({ memberId, instanceId, metadata }) => {
      writer.string(memberId);
      if (version >= 5) writer.nullableString(instanceId);
      writer.byteString(metadata);
    });
  },

  refuse: ({ memberId }, errorCode) => joinError(errorCode, memberId),
});

import { defineApi } from '../protocol/api.js';
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
 * JoinGroup, versions 0–5. Answered when the rebalance has all its members. From version 4 on a new member gets
 * MEMBER_ID_REQUIRED and an id first; from version 5 on members can be static (KIP-345).
 *
 *     Request  => group_id · session_timeout_ms i32 · rebalance_timeout_ms i32 (1+) · member_id
 *                 · group_instance_id nullable (5+) · protocol_type · [name · metadata bytes]
 *     Response => throttle_time_ms i32 (2+) · error_code i16 · generation_id i32 · protocol_name · leader · member_id
 *                 · [member_id · group_instance_id nullable (5+) · metadata bytes]
 */
export const joinGroup = defineApi<JoinGroupRequest, JoinAnswer>({
  key: 11,
  name: 'JoinGroup',
  minVersion: 0,
  maxVersion: 5,

  decode(reader, version) {
    const group = reader.string();
    const sessionTimeoutMs = reader.int32();
    const rebalanceTimeoutMs = version >= 1 ? reader.int32() : sessionTimeoutMs;
    const memberId = reader.string();
    const instanceId = version >= 5 ? reader.nullableString() : null;
    const protocolType = reader.string();
    const protocols = reader.array(() => ({ name: reader.string(), metadata: reader.byteString() }));
    return { group, sessionTimeoutMs, rebalanceTimeoutMs, memberId, instanceId, protocolType, protocols };
  },

  handle: ({ group, ...request }, { services, version, clientId, clientHost }) =>
    services.groups.join(group, { ...request, clientId, clientHost, requiresKnownMemberId: version >= 4 }),

  encode(writer, answer, version) {
    if (version >= 2) writer.int32(0);
    writer.int16(answer.errorCode);
    writer.int32(answer.generation);
    writer.string(answer.protocol);
    writer.string(answer.leader);
    writer.string(answer.memberId);
    writer.array(answer.members, ({ memberId, instanceId, metadata }) => {
      writer.string(memberId);
      if (version >= 5) writer.nullableString(instanceId);
      writer.byteString(metadata);
    });
  },

  refuse: ({ memberId }, errorCode) => ({
    errorCode,
    generation: -1,
    protocol: '',
    leader: '',
    memberId,
    members: [],
  }),
});

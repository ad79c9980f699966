import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { GroupCoordinator } from '../groups/group-coordinator.js';
import type { Member } from '../groups/member.js';

interface DescribedGroup {
  errorCode: number;
  id: string;
  state: string;
  protocolType: string;
  protocol: string;
  members: Member[];
}

const operationsNotComputed = -0x8000_0000;

/**
 * DescribeGroups, versions 0–5 (5 flexible). An unknown group has the state "Dead" and no error.
 *
 *     Request  => [group_id] · include_authorized_operations bool (3+)
 *     Response => throttle_time_ms i32 (1+) · [error_code i16 · group_id · state · protocol_type · protocol
 *                 · [member_id · group_instance_id nullable (4+) · client_id · client_host · metadata bytes · assignment bytes]
 *                 · authorized_operations i32 (3+)]
 */
export const describeGroups = defineApi<string[], DescribedGroup[]>({
  key: 15,
  name: 'DescribeGroups',
  minVersion: 0,
  maxVersion: 5,
  flexibleFrom: 5,

  decode(reader, version) {
    const ids = reader.array(() => reader.string());
    if (version >= 3) reader.boolean();
    return ids;
  },

  handle: (ids, { services }) => ids.map((id) => describe(services.groups, id)),

  encode(writer, groups, version) {
    if (version >= 1) writer.int32(0);
    writer.structs(groups, (group) => {
      writer.int16(group.errorCode);
      writer.string(group.id);
      writer.string(group.state);
      writer.string(group.protocolType);
      writer.string(group.protocol);
      writer.structs(group.members, (member) => {
        writer.string(member.id);
        if (version >= 4) writer.nullableString(member.instanceId);
        writer.string(member.clientId);
        writer.string(`/${member.clientHost}`);
        const metadata = member.protocols.find(({ name }) => name === group.protocol)?.metadata;
        writer.byteString(metadata ?? Buffer.alloc(0));
        writer.byteString(member.assignment);
      });
      if (version >= 3) writer.int32(operationsNotComputed);
    });
  },

  refuse: (ids, errorCode) => ids.map((id) => ({ ...unknown(id), errorCode })),
});

function describe(groups: GroupCoordinator, id: string): DescribedGroup {
  const group = groups.get(id);
  if (group === undefined) return { ...unknown(id), state: groups.stateOf(id) };
  const { state, protocolType, protocol, members } = group;
  return {
    errorCode: ErrorCode.NONE,
    id,
    state,
    protocolType,
    protocol: state === 'Stable' ? protocol : '',
    members: [...members.values()],
  };
}

function unknown(id: string): DescribedGroup {
  return { errorCode: ErrorCode.NONE, id, state: 'Dead', protocolType: '', protocol: '', members: [] };
}

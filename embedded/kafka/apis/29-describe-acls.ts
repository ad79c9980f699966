import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { decodeAclFilter, noAccessLists } from './access-lists.js';

/**
 * DescribeAcls, versions 0–3 (2 and 3 flexible). There are no access lists: SECURITY_DISABLED, as Kafka
 * answers without an authorizer and tools expect.
 *
 *     Request  => filter (see `decodeAclFilter`)
 *     Response => throttle_time_ms i32 · error_code i16 · error_message nullable
 *                 · [resource_type i8 · resource_name · pattern_type i8 (1+)
 *                   · [principal · host · operation i8 · permission_type i8]]
 */
export const describeAcls = defineApi<null, number>({
  key: 29,
  name: 'DescribeAcls',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 2,

  decode(reader, version) {
    decodeAclFilter(reader, version);
    return null;
  },

  handle: () => ErrorCode.SECURITY_DISABLED,

  encode(writer, errorCode) {
    writer.int32(0);
    writer.int16(errorCode);
    writer.nullableString(noAccessLists);
    writer.structs([], () => undefined);
  },

  refuse: (_request, errorCode) => errorCode,
});

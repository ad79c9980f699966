import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { decodeAclFilter, noAccessLists } from './access-lists.js';

/**
 * DeleteAcls, versions 0–3 (2 and 3 flexible). There are no access lists: each filter is answered with
 * SECURITY_DISABLED.
 *
 *     Request  => [filter] (see `decodeAclFilter`)
 *     Response => throttle_time_ms i32 · [error_code i16 · error_message nullable
 *                 · [error_code i16 · error_message nullable · resource_type i8 · resource_name · pattern_type i8 (1+)
 *                   · principal · host · operation i8 · permission_type i8]]
 */
export const deleteAcls = defineApi<void[], number[]>({
  key: 31,
  name: 'DeleteAcls',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 2,

  decode: (reader, version) => reader.structs(() => decodeAclFilter(reader, version)),

  handle: (filters) => filters.map(() => ErrorCode.SECURITY_DISABLED),

  encode(writer, refusals) {
    writer.int32(0);
    writer.structs(refusals, (errorCode) => {
      writer.int16(errorCode);
      writer.nullableString(noAccessLists);
      writer.structs([], () => undefined);
    });
  },

  refuse: (filters, errorCode) => filters.map(() => errorCode),
});

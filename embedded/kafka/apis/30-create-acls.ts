import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { noAccessLists } from './access-lists.js';

/**
 * CreateAcls, versions 0–3 (2 and 3 flexible). There are no access lists: each is answered with
 * SECURITY_DISABLED.
 *
 *     Request  => [resource_type i8 · resource_name · pattern_type i8 (1+) · principal · host · operation i8
 *                 · permission_type i8]
 *     Response => throttle_time_ms i32 · [error_code i16 · error_message nullable]
 */
export const createAcls = defineApi<null[], number[]>({
  key: 30,
  name: 'CreateAcls',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 2,

  decode: (reader, version) =>
    reader.structs(() => {
      reader.int8();
      reader.string();
      if (version >= 1) reader.int8();
      reader.string();
      reader.string();
      reader.int8();
      reader.int8();
      return null;
    }),

  handle: (lists) => lists.map(() => ErrorCode.SECURITY_DISABLED),

  encode(writer, refusals) {
    writer.int32(0);
    writer.structs(refusals, (errorCode) => {
      writer.int16(errorCode);
      writer.nullableString(noAccessLists);
    });
  },

  refuse: (lists, errorCode) => lists.map(() => errorCode),
});

import { defineApi } from '../protocol/api.js';
import type { TokenAnswer } from '../security/authentication.js';

/**
 * SaslAuthenticate, versions 0–2 (2 flexible): one token of the mechanism there, one back. After
 * SASL_AUTHENTICATION_FAILED the connection is closed. Logins do not expire (session_lifetime_ms is 0).
 *
 *     Request  => auth_bytes bytes
 *     Response => error_code i16 · error_message nullable · auth_bytes bytes · session_lifetime_ms i64 (1+)
 */
export const saslAuthenticate = defineApi<{ token: Buffer }, TokenAnswer>({
  key: 36,
  name: 'SaslAuthenticate',
  minVersion: 0,
  maxVersion: 2,
  flexibleFrom: 2,

  decode: (reader) => ({ token: reader.byteString() }),

  handle: ({ token }, { authentication }) => authentication.next(token),

  encode(writer, { errorCode, message, bytes }, version) {
    writer.int16(errorCode);
    writer.nullableString(message);
    writer.byteString(bytes);
    if (version >= 1) writer.int64(0);
  },

  refuse: (_request, errorCode) => ({ errorCode, message: null, bytes: Buffer.alloc(0) }),
});

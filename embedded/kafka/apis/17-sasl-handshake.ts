import { defineApi } from '../protocol/api.js';

interface SaslHandshakeRequest {
  mechanism: string;
}

interface SaslHandshakeResponse {
  errorCode: number;
  mechanisms: readonly string[];
}

/**
 * SaslHandshake, versions 0–1: the client chooses a mechanism. Its tokens follow in SaslAuthenticate requests
 * after version 1, and as bare frames after version 0. Without SASL settings, and once authenticated:
 * ILLEGAL_SASL_STATE.
 *
 *     Request  => mechanism
 *     Response => error_code i16 · [mechanism]
 */
export const saslHandshake = defineApi<SaslHandshakeRequest, SaslHandshakeResponse>({
  key: 17,
  name: 'SaslHandshake',
  minVersion: 0,
  maxVersion: 1,

  decode: (reader) => ({ mechanism: reader.string() }),

  handle: ({ mechanism }, { authentication, version }) => ({
    errorCode: authentication.begin(mechanism, version === 0),
    mechanisms: authentication.mechanisms,
  }),

  encode(writer, { errorCode, mechanisms }) {
    writer.int16(errorCode);
    writer.array(mechanisms, (mechanism) => writer.string(mechanism));
  },

  refuse: (_request, errorCode) => ({ errorCode, mechanisms: [] }),
});

import type { TlsEngine } from './tls-settings.js';

type Advice = (engine: TlsEngine) => string;

const untrusted: Advice = (engine) =>
  `Its certificate is from an authority that is not trusted here: set ${engine}_TLS_CA to that authority's file.`;
const wantsCertificate: Advice = (engine) =>
  `It asks for a client certificate of an authority that it trusts: check ${engine}_TLS_CERT and ${engine}_TLS_KEY.`;
const noTls: Advice = (engine) =>
  engine === 'KAFKA'
    ? 'It does not talk TLS on this port: check KAFKA_BROKERS, or leave KAFKA_TLS out.'
    : `It does not talk TLS on this port: check ${engine}_URL.`;

/** By the codes of OpenSSL and Node (https://nodejs.org/api/tls.html#x509-certificate-error-codes). */
const advices: Record<string, Advice> = {
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  CERT_SIGNATURE_FAILURE: untrusted,
  CERT_HAS_EXPIRED: () =>
    'Its certificate, or its authority’s, has expired: renew it there (or set the clock here).',
  CERT_NOT_YET_VALID: () => 'Its certificate is not valid yet: check the clocks there and here.',
  ERR_TLS_CERT_ALTNAME_INVALID: (engine) =>
    `Its certificate is for other host names: use one of those in the address, or set ${engine}_TLS_SERVER_NAME to one.`,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  EPROTO: noTls,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: wantsCertificate,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: wantsCertificate,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: wantsCertificate,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: wantsCertificate,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: wantsCertificate,
};

/** For errors that libraries have wrapped without the code. */
const codesByText: readonly (readonly [RegExp, string])[] = [
  [
    /self-signed certificate|unable to verify the first certificate|unable to get (?:local )?issuer/i,
    'SELF_SIGNED_CERT_IN_CHAIN',
  ],
  [/certificate has expired/i, 'CERT_HAS_EXPIRED'],
  [/certificate is not yet valid/i, 'CERT_NOT_YET_VALID'],
  [/does not match certificate's altnames/i, 'ERR_TLS_CERT_ALTNAME_INVALID'],
  [/wrong version number|packet length too long|before secure TLS connection was established/i, 'EPROTO'],
  [
    /alert (?:certificate required|bad certificate|certificate unknown|unknown ca|handshake failure)/i,
    'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  ],
];

/** Returns the remedy for a connection that failed due to TLS; nothing for other reasons. */
export function tlsAdvice(error: unknown, engine: TlsEngine): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < 10 && current instanceof Error; depth++) {
    const { message } = current;
    const code = 'code' in current && typeof current.code === 'string' ? current.code : '';
    const advice = advices[code] ?? advices[codesByText.find(([text]) => text.test(message))?.[1] ?? ''];
    if (advice !== undefined) return advice(engine);
    const inner: unknown =
      'errors' in current && Array.isArray(current.errors)
        ? (current.errors[0] ?? current.cause)
        : current.cause;
    if (inner === current) break;
    current = inner;
  }
  return undefined;
}

import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { Writer } from '../protocol/writer.js';
import type { ServedVersions } from '../services.js';

interface ApiVersionsResponse {
  errorCode: number;
  served: readonly ServedVersions[];
}

/**
 * ApiVersions, versions 0–3 (3 flexible, but for the response header). The list contains the versions
 * declared by the modules of this folder. The connection answers a later version: see
 * `encodeUnsupportedApiVersions`.
 *
 *     Request  => client_software_name, client_software_version (3)
 *     Response => error_code i16 · [api_key i16 · min i16 · max i16] · throttle_time_ms i32 (1+)
 */
export const apiVersions = defineApi<null, ApiVersionsResponse>({
  key: 18,
  name: 'ApiVersions',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 3,

  decode(reader, version) {
    if (version < 3) return null;
    reader.string();
    reader.string();
    return null;
  },

  handle: (_request, { services }) => ({ errorCode: ErrorCode.NONE, served: services.served }),

  encode(writer, { errorCode, served }, version) {
    writer.int16(errorCode);
    writer.structs(served, ({ key, minVersion, maxVersion }) => {
      writer.int16(key);
      writer.int16(minVersion);
      writer.int16(maxVersion);
    });
    if (version >= 1) writer.int32(0);
  },

  refuse: (_request, errorCode) => ({ errorCode, served: [] }),
});

/** Writes the answer to a client with a newer version: a version 0 body, "ask again with one of these". */
export function encodeUnsupportedApiVersions(writer: Writer): void {
  writer.int16(ErrorCode.UNSUPPORTED_VERSION);
  writer.array([apiVersions], ({ key, maxVersion }) => {
    writer.int16(key);
    writer.int16(0);
    writer.int16(maxVersion);
  });
}

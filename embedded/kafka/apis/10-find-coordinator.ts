import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { nodeId } from '../services.js';

interface FindCoordinatorResponse {
  errorCode: number;
  host: string;
  port: number;
}

/**
 * FindCoordinator, versions 0–2. The one node coordinates every group and every transaction; its address is the one
 * that the client connected to.
 *
 *     Request  => key · key_type i8 (1+)
 *     Response => throttle_time_ms i32 (1+) · error_code i16 · error_message nullable (1+) · node_id i32 · host · port i32
 */
export const findCoordinator = defineApi<string, FindCoordinatorResponse>({
  key: 10,
  name: 'FindCoordinator',
  minVersion: 0,
  maxVersion: 2,

  decode(reader, version) {
    const key = reader.string();
    if (version >= 1) reader.int8();
    return key;
  },

  handle: (_key, { localHost, localPort }) => ({
    errorCode: ErrorCode.NONE,
    host: localHost,
    port: localPort,
  }),

  encode(writer, { errorCode, host, port }, version) {
    if (version >= 1) writer.int32(0);
    writer.int16(errorCode);
    if (version >= 1) writer.nullableString(null);
    writer.int32(errorCode === ErrorCode.NONE ? nodeId : -1);
    writer.string(host);
    writer.int32(port);
  },

  refuse: (_key, errorCode) => ({ errorCode, host: '', port: -1 }),
});

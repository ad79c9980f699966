import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { nodeId } from '../services.js';

interface FindCoordinatorResponse {
  keys: string[];
  errorCode: number;
  host: string;
  port: number;
}

/**
 * FindCoordinator, versions 0–4 (3 and 4 flexible). The one node coordinates every group and every
 * transaction; its address is the one that the client connected to. Version 4 requests several at once.
 *
 *     Request (0–3)  => key · key_type i8 (1+)
 *     Request (4)    => key_type i8 · [key]
 *     Response (0–3) => throttle_time_ms i32 (1+) · error_code i16 · error_message nullable (1+) · node_id i32 · host
 *                       · port i32
 *     Response (4)   => throttle_time_ms i32 · [key · node_id i32 · host · port i32 · error_code i16
 *                       · error_message nullable]
 */
export const findCoordinator = defineApi<string[], FindCoordinatorResponse>({
  key: 10,
  name: 'FindCoordinator',
  minVersion: 0,
  maxVersion: 4,
  flexibleFrom: 3,

  decode(reader, version) {
    if (version >= 4) {
      reader.int8();
      return reader.array(() => reader.string());
    }
    const key = reader.string();
    if (version >= 1) reader.int8();
    return [key];
  },

  handle: (keys, { localHost, localPort }) => ({
    keys,
    errorCode: ErrorCode.NONE,
    host: localHost,
    port: localPort,
  }),

  encode(writer, { keys, errorCode, host, port }, version) {
    const node = (): void => {
      writer.int32(errorCode === ErrorCode.NONE ? nodeId : -1);
      writer.string(host);
      writer.int32(port);
    };
    if (version >= 1) writer.int32(0);
    if (version < 4) {
      writer.int16(errorCode);
      if (version >= 1) writer.nullableString(null);
      node();
      return;
    }
    writer.structs(keys, (key) => {
      writer.string(key);
      node();
      writer.int16(errorCode);
      writer.nullableString(null);
    });
  },

  refuse: (keys, errorCode) => ({ keys, errorCode, host: '', port: -1 }),
});

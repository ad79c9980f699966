import { defineApi } from '../protocol/api.js';
import type { ProducerIdentity } from '../transactions/transaction-coordinator.js';
import { fencingCode } from './fencing.js';

interface EndTxnRequest {
  transactionalId: string;
  producer: ProducerIdentity;
  commit: boolean;
}

/**
 * EndTxn, versions 0–3 (3 flexible). Answered when the decision, and a marker on every partition of the
 * transaction, are on disk and its offsets are committed. A repeated request for the same outcome succeeds;
 * one for the other outcome is INVALID_TXN_STATE.
 *
 *     Request  => transactional_id · producer_id i64 · producer_epoch i16 · committed bool
 *     Response => throttle_time_ms i32 · error_code i16
 */
export const endTxn = defineApi<EndTxnRequest, number>({
  key: 26,
  name: 'EndTxn',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 3,

  decode: (reader) => ({
    transactionalId: reader.string(),
    producer: { producerId: reader.int64(), epoch: reader.int16() },
    commit: reader.boolean(),
  }),

  handle: ({ transactionalId, producer, commit }, { services }) =>
    services.transactions.end(transactionalId, producer, commit),

  encode(writer, errorCode, version) {
    writer.int32(0);
    writer.int16(fencingCode(errorCode, version >= 2));
  },

  refuse: (_request, errorCode) => errorCode,
});

import { defineApi } from '../protocol/api.js';
import type { ProducerIdentity } from '../transactions/transaction-coordinator.js';
import { fencingCode } from './fencing.js';

interface AddOffsetsRequest {
  transactionalId: string;
  producer: ProducerIdentity;
  group: string;
}

/**
 * AddOffsetsToTxn, versions 0–3 (3 flexible): announces that the transaction will commit offsets of this
 * group.
 *
 *     Request  => transactional_id · producer_id i64 · producer_epoch i16 · group_id
 *     Response => throttle_time_ms i32 · error_code i16
 */
export const addOffsetsToTxn = defineApi<AddOffsetsRequest, number>({
  key: 25,
  name: 'AddOffsetsToTxn',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 3,

  decode: (reader) => ({
    transactionalId: reader.string(),
    producer: { producerId: reader.int64(), epoch: reader.int16() },
    group: reader.string(),
  }),

  handle: ({ transactionalId, producer, group }, { services }) =>
    services.transactions.addGroup(transactionalId, producer, group),

  encode(writer, errorCode, version) {
    writer.int32(0);
    writer.int16(fencingCode(errorCode, version >= 2));
  },

  refuse: (_request, errorCode) => errorCode,
});

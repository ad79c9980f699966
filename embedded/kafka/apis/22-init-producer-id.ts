import { defineApi } from '../protocol/api.js';
import type { ProducerIdentity } from '../transactions/transaction-coordinator.js';
import { fencingCode } from './fencing.js';

interface InitProducerIdRequest {
  transactionalId: string | null;
  timeoutMs: number;
  known: ProducerIdentity | undefined;
}

/**
 * InitProducerId, versions 0–4 (2 and later flexible). With a transactional id: aborts the id's open
 * transaction, and fences its older producers by a higher epoch. From version 3 on a producer can request the
 * next epoch itself (KIP-360).
 *
 *     Request  => transactional_id nullable · transaction_timeout_ms i32 · producer_id i64, producer_epoch i16 (3+)
 *     Response => throttle_time_ms i32 · error_code i16 · producer_id i64 · producer_epoch i16
 */
export const initProducerId = defineApi<InitProducerIdRequest, ProducerIdentity & { errorCode: number }>({
  key: 22,
  name: 'InitProducerId',
  minVersion: 0,
  maxVersion: 4,
  flexibleFrom: 2,

  decode(reader, version) {
    const transactionalId = reader.nullableString();
    const timeoutMs = reader.int32();
    const known = version >= 3 ? { producerId: reader.int64(), epoch: reader.int16() } : undefined;
    return { transactionalId, timeoutMs, known };
  },

  handle: ({ transactionalId, timeoutMs, known }, { services }) =>
    services.transactions.init(transactionalId, timeoutMs, known),

  encode(writer, { errorCode, producerId, epoch }, version) {
    writer.int32(0);
    writer.int16(fencingCode(errorCode, version >= 4));
    writer.int64(producerId);
    writer.int16(epoch);
  },

  refuse: (_request, errorCode) => ({ errorCode, producerId: -1, epoch: -1 }),
});

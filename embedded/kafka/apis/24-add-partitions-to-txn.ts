import { defineApi } from '../protocol/api.js';
import type { ProducerIdentity } from '../transactions/transaction-coordinator.js';
import { fencingCode } from './fencing.js';

interface AddPartitionsRequest {
  transactionalId: string;
  producer: ProducerIdentity;
  topics: { name: string; partitions: number[] }[];
}

type AddPartitionsResponse = { name: string; partitions: { index: number; errorCode: number }[] }[];

/**
 * AddPartitionsToTxn, versions 0–3 (3 flexible). The first one opens the transaction and starts its timeout.
 * All or nothing: when one partition is unknown the others are OPERATION_NOT_ATTEMPTED.
 *
 *     Request  => transactional_id · producer_id i64 · producer_epoch i16 · [topic · [partition i32]]
 *     Response => throttle_time_ms i32 · [topic · [partition i32 · error_code i16]]
 */
export const addPartitionsToTxn = defineApi<AddPartitionsRequest, AddPartitionsResponse>({
  key: 24,
  name: 'AddPartitionsToTxn',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 3,

  decode: (reader) => ({
    transactionalId: reader.string(),
    producer: { producerId: reader.int64(), epoch: reader.int16() },
    topics: reader.structs(() => ({ name: reader.string(), partitions: reader.array(() => reader.int32()) })),
  }),

  async handle({ transactionalId, producer, topics }, { services }) {
    const flat = topics.flatMap(({ name, partitions }) =>
      partitions.map((partition) => ({ topic: name, partition })),
    );
    const errors = await services.transactions.addPartitions(transactionalId, producer, flat);
    let next = 0;
    return topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((index) => ({ index, errorCode: errors[next++] ?? 0 })),
    }));
  },

  encode(writer, topics, version) {
    writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, ({ index, errorCode }) => {
        writer.int32(index);
        writer.int16(fencingCode(errorCode, version >= 2));
      });
    });
  },

  refuse: ({ topics }, errorCode) =>
    topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map((index) => ({ index, errorCode })),
    })),
});

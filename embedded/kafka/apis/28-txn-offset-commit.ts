import { defineApi } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { ProducerIdentity } from '../transactions/transaction-coordinator.js';

interface TxnOffsetCommitRequest {
  transactionalId: string;
  group: string;
  producer: ProducerIdentity;
  generation: number;
  memberId: string;
  instanceId: string | null;
  topics: {
    name: string;
    partitions: { index: number; offset: number; leaderEpoch: number; metadata: string | null }[];
  }[];
}

type TxnOffsetCommitResponse = { name: string; partitions: { index: number; errorCode: number }[] }[];

/**
 * TxnOffsetCommit, versions 0–3 (3 flexible). The offsets are invisible until the transaction commits.
 * Version 3 has the consumer's membership, so that a consumer that lost its partitions is refused (KIP-447).
 *
 *     Request  => transactional_id · group_id · producer_id i64 · producer_epoch i16
 *                 · generation_id i32, member_id, group_instance_id nullable (3)
 *                 · [topic · [partition i32 · offset i64 · leader_epoch i32 (2+) · metadata nullable]]
 *     Response => throttle_time_ms i32 · [topic · [partition i32 · error_code i16]]
 */
export const txnOffsetCommit = defineApi<TxnOffsetCommitRequest, TxnOffsetCommitResponse>({
  key: 28,
  name: 'TxnOffsetCommit',
  minVersion: 0,
  maxVersion: 3,
  flexibleFrom: 3,

  decode(reader, version) {
    const transactionalId = reader.string();
    const group = reader.string();
    const producer = { producerId: reader.int64(), epoch: reader.int16() };
    const generation = version >= 3 ? reader.int32() : -1;
    const memberId = version >= 3 ? reader.string() : '';
    const instanceId = version >= 3 ? reader.nullableString() : null;
    const topics = reader.structs(() => {
      const name = reader.string();
      const partitions = reader.structs(() => {
        const index = reader.int32();
        const offset = reader.int64();
        const leaderEpoch = version >= 2 ? reader.int32() : -1;
        const metadata = reader.nullableString();
        return { index, offset, leaderEpoch, metadata };
      });
      return { name, partitions };
    });
    return { transactionalId, group, producer, generation, memberId, instanceId, topics };
  },

  async handle(request, { services }) {
    const { transactionalId, producer, group, memberId, instanceId, generation } = request;
    const refusal = services.groups.checkTransactionalCommit(group, memberId, instanceId, generation);
    if (refusal !== ErrorCode.NONE) return answerAll(request, refusal);
    const missing = request.topics.some(({ name, partitions }) =>
      partitions.some(({ index }) => services.topics.log(name, index) === undefined),
    );
    if (missing) return answerAll(request, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    const committedAt = services.clock.now();
    const offsets = request.topics.flatMap(({ name, partitions }) =>
      partitions.map(({ index, offset, leaderEpoch, metadata }) => {
        return { topic: name, partition: index, committed: { offset, leaderEpoch, metadata, committedAt } };
      }),
    );
    return answerAll(
      request,
      await services.transactions.stageOffsets(transactionalId, producer, group, offsets),
    );
  },

  encode(writer, topics) {
    writer.int32(0);
    writer.structs(topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, ({ index, errorCode }) => {
        writer.int32(index);
        writer.int16(errorCode);
      });
    });
  },

  refuse: answerAll,
});

function answerAll({ topics }: TxnOffsetCommitRequest, errorCode: number): TxnOffsetCommitResponse {
  return topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ index }) => ({ index, errorCode })),
  }));
}

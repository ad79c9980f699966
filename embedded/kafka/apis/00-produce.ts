import { defineApi } from '../protocol/api.js';
import type { RequestContext } from '../protocol/api.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { isTransactional, headerLength, readHeader } from '../protocol/record-batch.js';

interface ProduceRequest {
  transactionalId: string | null;
  acks: number;
  topics: { name: string; partitions: { index: number; records: Buffer | null }[] }[];
}

interface PartitionResult {
  index: number;
  errorCode: number;
  baseOffset: number;
  logAppendTime: number;
  logStartOffset: number;
}

interface ProduceResponse {
  topics: { name: string; partitions: PartitionResult[] }[];
}

const servedFrom = 3;

/**
 * Produce, versions 0–9 (9 flexible). Versions 0–2 carry formats before v2 and are answered with
 * UNSUPPORTED_FOR_MESSAGE_FORMAT; they are advertised because librdkafka otherwise sends gzip, snappy and LZ4
 * uncompressed.
 *
 * acks=0 gets no answer. acks=1 is answered like acks=all: when the batch is on disk.
 *
 *     Request (3+)   => transactional_id nullable · acks i16 · timeout_ms i32 · [name · [index i32 · records bytes]]
 *     Request (0–2)  => acks i16 · timeout_ms i32 · [name · [index i32 · records bytes]]
 *     Response       => [name · [index i32 · error_code i16 · base_offset i64 · log_append_time i64 (2+)
 *                       · log_start_offset i64 (5+) · record_errors [batch_index i32 · message nullable] (8+)
 *                       · error_message nullable (8+)]] · throttle_time_ms i32 (1+)
 */
export const produce = defineApi<ProduceRequest, ProduceResponse>({
  key: 0,
  name: 'Produce',
  minVersion: 0,
  maxVersion: 9,
  flexibleFrom: 9,

  decode(reader, version) {
    const transactionalId = version >= 3 ? reader.nullableString() : null;
    const acks = reader.int16();
    reader.int32();
    const topics = reader.structs(() => ({
      name: reader.string(),
      partitions: reader.structs(() => ({ index: reader.int32(), records: reader.nullableBytes() })),
    }));
    return { transactionalId, acks, topics };
  },

  async handle(request, context) {
    const topics = request.topics.map(({ name, partitions }) => ({
      name,
      // Appended in the tick of the call: requests of one connection keep their order.
      partitions: partitions.map(({ index, records }) => append(request, context, name, index, records)),
    }));
    const finished = await Promise.all(
      topics.map(async ({ name, partitions }) => ({ name, partitions: await Promise.all(partitions) })),
    );
    return request.acks === 0 ? undefined : { topics: finished };
  },

  encode(writer, response, version) {
    writer.structs(response.topics, ({ name, partitions }) => {
      writer.string(name);
      writer.structs(partitions, (partition) => {
        writer.int32(partition.index);
        writer.int16(partition.errorCode);
        writer.int64(partition.baseOffset);
        if (version >= 2) writer.int64(partition.logAppendTime);
        if (version >= 5) writer.int64(partition.logStartOffset);
        if (version < 8) return;
        writer.structs([], () => undefined);
        writer.nullableString(null);
      });
    });
    if (version >= 1) writer.int32(0);
  },

  refuse: ({ topics }, errorCode) => ({
    topics: topics.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ index }) => refused(index, errorCode)),
    })),
  }),
});

async function append(
  request: ProduceRequest,
  context: RequestContext,
  topic: string,
  index: number,
  records: Buffer | null,
): Promise<PartitionResult> {
  const { services, version } = context;
  if (version < servedFrom) return refused(index, ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT);
  if (request.acks < -1 || request.acks > 1) return refused(index, ErrorCode.INVALID_REQUIRED_ACKS);
  const log = services.topics.log(topic, index);
  if (log === undefined) return refused(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  if (records === null) return refused(index, ErrorCode.INVALID_RECORD);
  if (records.length >= headerLength) {
    const header = readHeader(records);
    if (isTransactional(header)) {
      const producer = { producerId: header.producerId, epoch: header.producerEpoch };
      const error = services.transactions.checkProduce(request.transactionalId, producer, topic, index);
      if (error !== ErrorCode.NONE) return refused(index, error);
    }
  }
  const appended = log.append(records);
  try {
    await appended.durable;
  } catch {
    return refused(index, ErrorCode.KAFKA_STORAGE_ERROR);
  }
  const { errorCode, baseOffset, logAppendTime } = appended;
  return { index, errorCode, baseOffset, logAppendTime, logStartOffset: log.logStart };
}

function refused(index: number, errorCode: number): PartitionResult {
  return { index, errorCode, baseOffset: -1, logAppendTime: -1, logStartOffset: -1 };
}

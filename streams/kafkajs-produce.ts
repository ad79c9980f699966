import type { Message } from 'kafkajs';
import { type BatchFields, SizedBatch } from './kafkajs-encode.js';

/** What a produce request says, as kafkajs passes it to its encoder. */
export interface ProduceFields extends Pick<BatchFields, 'compression' | 'producerId' | 'producerEpoch'> {
  acks: number;
  /** Milliseconds. */
  timeout: number;
  transactionalId?: string | null;
  topicData: {
    topic: string;
    partitions: { partition: number; firstSequence?: number; messages: readonly Message[] }[];
  }[];
}

/** A request of the protocol in kafkajs. */
export interface RequestFields {
  correlationId: number;
  clientId: string;
  request: { apiKey: number; apiVersion: number; encode(): Promise<object> };
}

/** The body of a request, behind free bytes for its header. */
class BodyInPlace {
  readonly buf: Buffer;

  constructor(buf: Buffer) {
    this.buf = buf;
  }

  /** The body alone, for kafkajs' encoder. */
  get buffer(): Buffer {
    return this.buf.subarray(headroom);
  }
}

/** Bytes in front of a body: for a header with a client's name of this length. */
const headroom = 270;

/**
 * Encodes the body of a produce request with uncompressed batches, each record once and into its final place;
 * kafkajs copies all of them through five buffers.
 *
 *     ProduceRequest (versions 3 to 7) => transactionalId string, acks int16, timeout int32, [topic]
 *     topic => name string, [partition int32, size int32, RecordBatch]
 */
export function encodeProduce({
  acks,
  timeout,
  transactionalId = null,
  topicData,
  ...producer
}: ProduceFields): BodyInPlace {
  const transactional = Boolean(transactionalId);
  const topics = topicData.map(({ topic, partitions }) => ({
    topic,
    partitions: partitions.map(({ partition, firstSequence, messages }) => ({
      partition,
      batch: new SizedBatch({ ...producer, ...batchOf(messages), firstSequence, transactional }),
    })),
  }));
  let size = headroom + sizeOfString(transactionalId) + 10;
  for (const { topic, partitions } of topics) {
    size += sizeOfString(topic) + 4;
    for (const { batch } of partitions) size += 8 + batch.size;
  }
  const buf = Buffer.allocUnsafe(size);
  let position = writeString(buf, headroom, transactionalId);
  position = buf.writeInt16BE(acks, position);
  position = buf.writeInt32BE(timeout, position);
  position = buf.writeInt32BE(topics.length, position);
  for (const { topic, partitions } of topics) {
    position = writeString(buf, position, topic);
    position = buf.writeInt32BE(partitions.length, position);
    for (const { partition, batch } of partitions) {
      position = buf.writeInt32BE(partition, position);
      position = buf.writeInt32BE(batch.size, position);
      position = batch.write(buf, position);
    }
  }
  return new BodyInPlace(buf);
}

function batchOf(messages: readonly Message[]): BatchFields {
  const now = Date.now();
  let firstTimestamp = Number.POSITIVE_INFINITY;
  let maxTimestamp = Number.NEGATIVE_INFINITY;
  for (const { timestamp = now } of messages) {
    firstTimestamp = Math.min(firstTimestamp, Number(timestamp));
    maxTimestamp = Math.max(maxTimestamp, Number(timestamp));
  }
  return {
    firstTimestamp,
    maxTimestamp,
    lastOffsetDelta: messages.length - 1,
    records: messages.map(({ key = null, value, headers, timestamp = now }, offsetDelta) => ({
      key,
      value,
      headers,
      offsetDelta,
      timestampDelta: Number(timestamp) - firstTimestamp,
    })),
  };
}

/**
 * Puts the header in front of a body that has room for it.
 *
 *     Request => size int32, apiKey int16, apiVersion int16, correlationId int32, clientId string, body
 *
 * @returns `undefined` for another body, and when there is too little room.
 */
export function withHeader(
  body: object,
  { correlationId, clientId, request: { apiKey, apiVersion } }: RequestFields,
): { buffer: Buffer } | undefined {
  const start = headroom - 12 - sizeOfString(clientId);
  if (!(body instanceof BodyInPlace) || start < 0) return undefined;
  const buffer = body.buf.subarray(start);
  buffer.writeInt32BE(buffer.length - 4, 0);
  buffer.writeInt16BE(apiKey, 4);
  buffer.writeInt16BE(apiVersion, 6);
  buffer.writeInt32BE(correlationId, 8);
  writeString(buffer, 12, clientId);
  return { buffer };
}

function sizeOfString(text: string | null): number {
  return 2 + (text === null ? 0 : Buffer.byteLength(text));
}

function writeString(buf: Buffer, position: number, text: string | null): number {
  if (text === null) return buf.writeInt16BE(-1, position);
  const start = position + 2;
  const end = start + buf.write(text, start);
  buf.writeInt16BE(end - start, position);
  return end;
}

import type { IHeaders, KafkaMessage, Message } from 'kafkajs';
import type { ConsumerSpan } from '../platform/tracing/spans.js';

/** A record read from the log. */
export interface StreamRecord {
  topic: string;
  partition: number;
  offset: number;
  /** Milliseconds since 1970: time of the producer, or of the broker's append (a topic's setting). */
  timestamp: number;
  key: Buffer | null;
  value: Buffer | null;
  /** The last value of a repeated header. */
  headers: Record<string, Buffer>;
  /** The span of its processing, if its trace is recorded. */
  span?: ConsumerSpan | undefined;
}

/** Header of a record that replaces an unreadable batch, with the reason. Its value is `null`. */
export const unreadableHeader = 'millrace-unreadable';
/** Header beside {@link unreadableHeader} with the beginning of the unreadable bytes. */
export const unreadableBytesHeader = 'millrace-unreadable-bytes';

/** A record to be written. */
export interface NewRecord {
  topic: string;
  /** Records of one key keep their order: they are written to one partition. `null` spreads over all. */
  key: Buffer | string | null;
  /** Overrides the partition that the key would choose. */
  partition?: number;
  /** `null` is a tombstone: in a compacted topic it deletes the key. */
  value: Buffer | null;
  headers?: Record<string, Buffer | string>;
  /** Milliseconds since 1970. Default: the time of sending. */
  timestamp?: number;
}

/** Position of an acknowledged record. */
export interface RecordPosition {
  topic: string;
  partition: number;
  offset: number;
}

export function toStreamRecord(topic: string, partition: number, message: KafkaMessage): StreamRecord {
  return {
    topic,
    partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    key: message.key,
    value: message.value,
    headers: toHeaders(message.headers),
  };
}

/** @returns the given headers, if none of them is repeated or text: this library's decoder makes them so. */
function toHeaders(headers: KafkaMessage['headers']): Record<string, Buffer> {
  if (!headers) return Object.create(null) as Record<string, Buffer>;
  return areBuffers(headers) ? headers : copyOf(headers);
}

function areBuffers(headers: IHeaders): headers is Record<string, Buffer> {
  if (Object.getPrototypeOf(headers) === Object.prototype) return false;
  for (const name in headers) if (!(headers[name] instanceof Uint8Array)) return false;
  return true;
}

function copyOf(headers: IHeaders): Record<string, Buffer> {
  // Without a prototype: a header may have the name `__proto__`.
  const result = Object.create(null) as Record<string, Buffer>;
  for (const name in headers) {
    const given = headers[name];
    const value = Array.isArray(given) ? given.at(-1) : given;
    if (value !== undefined) result[name] = typeof value === 'string' ? Buffer.from(value) : value;
  }
  return result;
}

export function toMessage(record: NewRecord): Message {
  const message: Message = { key: record.key, value: record.value };
  if (record.partition !== undefined) message.partition = record.partition;
  if (record.headers) message.headers = record.headers;
  if (record.timestamp !== undefined) message.timestamp = String(record.timestamp);
  return message;
}

/** Returns the approximate size of a record in a batch, bytes. */
export function sizeOf(record: NewRecord): number {
  let size = 32 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const name in record.headers) size += 8 + name.length + (record.headers[name]?.length ?? 0);
  return size;
}

import type { MillraceError } from '../platform/errors.js';
import type { NewRecord, StreamRecord } from '../streams/records.js';

/** Why a record could not be scored: the stable codes of the `dead-letter-reason` header and of the table's `reason`. */
export const deadLetterReasons = [
  'UNDECODABLE',
  'SCHEMA_UNKNOWN',
  'SCHEMA_INCOMPATIBLE',
  'EVENT_INVALID',
  'FEATURES_INVALID',
  'MODEL_FAILED',
  'OUTPUT_INVALID',
  'CLICKHOUSE_BAD_ROWS',
] as const;

/** A dead letter as read back from its topic. */
export interface DeadLetter {
  pipeline: string;
  reason: string;
  detail: string;
  /** Where the record came from. */
  topic: string;
  partition: number;
  offset: number;
  schemaId: number | null;
  eventId: string | null;
  /** Milliseconds since 1970, UTC. */
  failedAt: number;
  /** The record's value, byte for byte; null when it had none. */
  original: Buffer | null;
}

const prefix = 'dead-letter-';

/**
 * The record that keeps what could not be scored: value, key and headers as they came, and beside them, in
 * `dead-letter-*` headers, the reason and the place it came from.
 */
export function deadLetterRecord(
  topic: string,
  pipeline: string,
  record: StreamRecord,
  reason: MillraceError,
  { now, schemaId, eventId }: { now: number; schemaId: number | undefined; eventId: string },
): NewRecord {
  const marks = {
    pipeline,
    reason: reason.code,
    detail: reason.message.slice(0, 2000),
    topic: record.topic,
    partition: String(record.partition),
    offset: String(record.offset),
    'event-id': eventId,
    'failed-at': String(now),
    ...(schemaId === undefined ? {} : { 'schema-id': String(schemaId) }),
  };
  const headers: NewRecord['headers'] = { ...record.headers };
  for (const [name, value] of Object.entries(marks)) headers[prefix + name] = value;
  return { topic, key: record.key ?? eventId, value: record.value, headers };
}

/**
 * Reads a dead letter. A record that someone else put on the topic, without the headers, gets its own place on the log
 * and the reason `UNKNOWN`.
 */
export function readDeadLetter(record: StreamRecord, pipeline: string): DeadLetter {
  const text = (name: string): string | undefined => record.headers[prefix + name]?.toString();
  const number = (name: string): number | undefined => {
    const value = Number(text(name) ?? Number.NaN);
    return Number.isSafeInteger(value) ? value : undefined;
  };
  return {
    pipeline: text('pipeline') ?? pipeline,
    reason: text('reason') ?? 'UNKNOWN',
    detail: text('detail') ?? '',
    topic: text('topic') ?? record.topic,
    partition: number('partition') ?? record.partition,
    offset: number('offset') ?? record.offset,
    schemaId: number('schema-id') ?? null,
    eventId: text('event-id') ?? null,
    failedAt: number('failed-at') ?? record.timestamp,
    original: record.value,
  };
}

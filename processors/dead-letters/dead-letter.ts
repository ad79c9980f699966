import type { MillraceError } from '../../platform/errors.js';
import { reasonOf } from './reasons.js';
import { isStorable } from '../../analytics/rows.js';
import { deadLetterId } from '../events/ids.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';

/** A dead letter as read from its topic. */
export interface DeadLetter {
  pipeline: string;
  reason: string;
  detail: string;
  /** Position of the original record. */
  topic: string;
  partition: number;
  offset: number;
  schemaId: number | null;
  eventId: string | null;
  /** Milliseconds since 1970, UTC. */
  failedAt: number;
}

/** A dead letter with its record. */
export interface StoredDeadLetter extends DeadLetter {
  /** A UUID derived from the position of the failed record. */
  id: string;
  /** How often the event had been redriven before it failed here. */
  redriven: number;
  record: StreamRecord;
}

/** Prefix of a dead letter's own headers; such headers of an original are dropped. */
export const deadLetterPrefix = 'dead-letter-';
const prefix = deadLetterPrefix;

/** Header of a redriven record: how often it was redriven. */
export const redrivenHeader = 'millrace-redriven';

/**
 * Returns the record that keeps an unscorable record: original value, key and headers, and the reason and the
 * original position in `dead-letter-*` headers. If a trace is recorded, `traceparent` identifies the failed
 * attempt.
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
    reason: reasonOf(reason),
    detail: reason.message.slice(0, 2000),
    topic: record.topic,
    // A record that never was on the log has no position: readers use that of its dead letter.
    ...(record.offset < 0 ? {} : { partition: String(record.partition), offset: String(record.offset) }),
    timestamp: String(record.timestamp),
    'event-id': eventId,
    'failed-at': String(now),
    ...(schemaId === undefined ? {} : { 'schema-id': String(schemaId) }),
  };
  // Such headers of the original come from a redriven or forged record, and would mix with the dead letter's
  // own.
  const kept = Object.entries(record.headers).filter(([name]) => !name.startsWith(prefix));
  const headers: NewRecord['headers'] = Object.fromEntries(kept);
  for (const [name, value] of Object.entries(marks)) headers[prefix + name] = value;
  record.span?.fail(reason);
  Object.assign(headers, record.span?.send('kafka', topic));
  return { topic, key: record.key ?? eventId, value: record.value, headers };
}

/** Bytes of the original in a dead letter that is otherwise too large for the log. */
const keptBytes = 500_000;
/** Characters of the detail in a dead letter without the original. */
const minDetailCharacters = 200;

/**
 * Shrinks a dead letter to the log's limit. The original may be too large for it, since it was smaller when
 * compressed. The value is cut, key and headers are left out, and `dead-letter-truncated-from` is the value's
 * original length in bytes.
 *
 * @param bytes - of the value to keep. With 0 the dead letter has the minimum size, and its reason is cut
 *   too.
 */
export function shrinkDeadLetter(deadLetter: NewRecord, bytes = keptBytes): NewRecord {
  const marks = Object.entries(deadLetter.headers ?? {})
    .filter(([name]) => name.startsWith(prefix) || name === 'traceparent')
    .map(([name, value]): [string, Buffer | string] => [
      name,
      name === `${prefix}detail` && bytes === 0 ? value.toString().slice(0, minDetailCharacters) : value,
    ]);
  const eventId = deadLetter.headers?.[`${prefix}event-id`] ?? null;
  return {
    topic: deadLetter.topic,
    key: eventId,
    value: deadLetter.value?.subarray(0, bytes) ?? null,
    headers: {
      ...Object.fromEntries(marks),
      [`${prefix}truncated-from`]: String(deadLetter.value?.length ?? 0),
    },
  };
}

/**
 * Returns the dead letter to write after this number of refusals by the log: first unchanged, then shrunk,
 * then of minimum size.
 */
export function smallerDeadLetter(deadLetter: NewRecord, refusals: number): NewRecord {
  if (refusals === 0) return deadLetter;
  return refusals === 1 ? shrinkDeadLetter(deadLetter) : shrinkDeadLetter(deadLetter, 0);
}

/**
 * Reads a dead letter. A foreign record on the topic, without the headers, gets its own position and the
 * reason `UNKNOWN`.
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
    failedAt:
      [number('failed-at'), record.timestamp].find((time) => time !== undefined && isStorable(time)) ?? 0,
  };
}

/** Reads a dead letter with everything needed to show or redrive it. */
export function openDeadLetter(record: StreamRecord, pipeline: string): StoredDeadLetter {
  const deadLetter = readDeadLetter(record, pipeline);
  const redriven = Number(record.headers[redrivenHeader]?.toString());
  return {
    ...deadLetter,
    // The pipeline of the topic, whatever a forged dead letter says.
    pipeline,
    id: deadLetterId(deadLetter),
    redriven: Number.isSafeInteger(redriven) && redriven > 0 ? redriven : 0,
    record,
  };
}

import type { MillraceError } from '../../platform/errors.js';
import { reasonOf } from './reasons.js';
import { isStorable } from '../../analytics/rows.js';
import { deadLetterId } from '../events/ids.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';

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
}

/** A dead letter with the record that holds it. */
export interface StoredDeadLetter extends DeadLetter {
  /** A UUID that follows from the place the failed record came from. */
  id: string;
  /** How often the event had been put back before it failed here. */
  redriven: number;
  record: StreamRecord;
}

/** Headers of this prefix are a dead letter's own; of an original they are dropped. */
export const deadLetterPrefix = 'dead-letter-';
const prefix = deadLetterPrefix;

/** Header of a record that was put back after it had failed: how often. */
export const redrivenHeader = 'millrace-redriven';

/**
 * The record that keeps what could not be scored: value, key and headers as they came, and beside them, in
 * `dead-letter-*` headers, the reason and the place it came from. Where a
 * trace is recorded, `traceparent` says which attempt failed.
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
    // A record that never was on the log has no position: readers take that of its dead letter.
    ...(record.offset < 0 ? {} : { partition: String(record.partition), offset: String(record.offset) }),
    timestamp: String(record.timestamp),
    'event-id': eventId,
    'failed-at': String(now),
    ...(schemaId === undefined ? {} : { 'schema-id': String(schemaId) }),
  };
  // Marks that a record brings along are a redriven or forged one's, and would mix with its own.
  const kept = Object.entries(record.headers).filter(([name]) => !name.startsWith(prefix));
  const headers: NewRecord['headers'] = Object.fromEntries(kept);
  for (const [name, value] of Object.entries(marks)) headers[prefix + name] = value;
  record.span?.fail(reason);
  Object.assign(headers, record.span?.send('kafka', topic));
  return { topic, key: record.key ?? eventId, value: record.value, headers };
}

/** Bytes of the original that a dead letter keeps when the whole would be more than the log takes. */
const keptBytes = 500_000;
/** Characters of the detail in a dead letter that keeps nothing of the original. */
const minDetailCharacters = 200;

/**
 * A dead letter that the log can take: of a record that is too large for it (compressed, it was smaller when
 * it came) the value is cut, key and headers are left out, and `dead-letter-truncated-from` says how many
 * bytes the value had.
 *
 * @param bytes - of the value that are kept. With 0 it is as small as a dead letter can be, and its reason is
 *   cut too.
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
 * A dead letter that the log has refused so often already: first as it is, then shrunk, then as small as it
 * can be.
 */
export function smallerDeadLetter(deadLetter: NewRecord, refusals: number): NewRecord {
  if (refusals === 0) return deadLetter;
  return refusals === 1 ? shrinkDeadLetter(deadLetter) : shrinkDeadLetter(deadLetter, 0);
}

/**
 * Reads a dead letter. A record that someone else put on the topic, without the headers, gets its own place
 * on the log and the reason `UNKNOWN`.
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

/** Reads a dead letter with all that is needed to show it or to put it back. */
export function openDeadLetter(record: StreamRecord, pipeline: string): StoredDeadLetter {
  const deadLetter = readDeadLetter(record, pipeline);
  const redriven = Number(record.headers[redrivenHeader]?.toString());
  return {
    ...deadLetter,
    // The topic's own, whatever a forged dead letter says.
    pipeline,
    id: deadLetterId(deadLetter),
    redriven: Number.isSafeInteger(redriven) && redriven > 0 ? redriven : 0,
    record,
  };
}

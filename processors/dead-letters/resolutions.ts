import { validate as isUuid } from 'uuid';
import { MillraceError } from '../../platform/errors.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { deadLetterPrefix, type StoredDeadLetter } from './dead-letter.js';
import { isStorable } from '../../analytics/rows.js';
const kinds = ['redriven', 'discarded'] as const;

/** `redriven`: the record was written back to its topic. `discarded`: no action is needed. */
export type ResolutionKind = (typeof kinds)[number];

/** The resolution of a dead letter: a record on the same topic. */
export interface Resolution {
  deadLetterId: string;
  pipeline: string;
  kind: ResolutionKind;
  /** The operator's reason, perhaps empty. */
  note: string;
  /** Milliseconds since 1970, UTC. */
  resolvedAt: number;
}

/**
 * Returns a resolution as a record without a value, with its fields in `dead-letter-*` headers like a dead
 * letter's. A failed record can't imitate one, since a dead letter drops such headers of the original. The
 * resolution has the dead letter's key and partition, so that it follows the dead letter and outlives it.
 */
export function resolutionRecord(
  { id, pipeline, record }: StoredDeadLetter,
  { kind, note, now }: { kind: ResolutionKind; note: string; now: number },
): NewRecord {
  const marks = { resolution: kind, id, pipeline, note: note.slice(0, 2000), 'resolved-at': String(now) };
  const headers = Object.fromEntries(
    Object.entries(marks).map(([name, value]) => [deadLetterPrefix + name, value]),
  );
  return { topic: record.topic, partition: record.partition, key: record.key, value: null, headers };
}

/** Whether a record of a dead-letter topic is a resolution, and no dead letter. */
export function isResolution(record: StreamRecord): boolean {
  return record.headers[`${deadLetterPrefix}resolution`] !== undefined;
}

/** @throws MillraceError `ROW_INVALID` for a forged one. */
export function readResolution(record: StreamRecord, pipeline: string): Resolution {
  const text = (name: string): string => record.headers[deadLetterPrefix + name]?.toString() ?? '';
  const kind = kinds.find((known) => known === text('resolution'));
  const deadLetterId = text('id');
  const resolvedAt = Number(text('resolved-at') || Number.NaN);
  if (kind === undefined || !isUuid(deadLetterId) || !isStorable(resolvedAt)) {
    const { topic, partition, offset } = record;
    throw new MillraceError(
      'ROW_INVALID',
      `The record at ${topic}/${partition}/${offset} is no resolution of a dead letter: it lacks a kind that is known, an id or a time.`,
    );
  }
  return { deadLetterId, pipeline: text('pipeline') || pipeline, kind, note: text('note'), resolvedAt };
}

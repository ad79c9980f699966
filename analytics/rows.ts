import { MillraceError } from '../platform/errors.js';

/** Range of ClickHouse's DateTime64(3), milliseconds since 1970, UTC. Other times are stored wrongly. */
const storableTime = { from: Date.UTC(1900, 0, 1), to: Date.UTC(2299, 11, 31) };

/** Returns whether a time (milliseconds since 1970) can be stored. Other clients may write any time. */
export function isStorable(time: number): boolean {
  return time >= storableTime.from && time <= storableTime.to;
}

/**
 * Formats a time for a row, as ISO 8601.
 *
 * @param name - name of the column, for the error.
 * @throws MillraceError `ROW_INVALID` if ClickHouse cannot store the time.
 */
export function toRowTime(name: string, time: number): string {
  if (isStorable(time)) return new Date(time).toISOString();
  throw new MillraceError(
    'ROW_INVALID',
    `${name} is ${time} ms since 1970, but only the years 1900 to 2299 can be stored.`,
  );
}

/**
 * Rows for inserts and queries, with the names of the columns. Times are ISO 8601 in UTC with milliseconds
 * (`2026-01-31T12:00:00.123Z`). `topic`, `partition` and `offset` are the position of the record on the log.
 */
export interface PredictionRow {
  event_id: string;
  /** A UUID. */
  prediction_id: string;
  pipeline: string;
  model: string;
  model_version: string;
  model_digest: string;
  event_time: string;
  predicted_at: string;
  /** Finite. A row with NaN is rejected. */
  score: number;
  /** `null` if the model predicts no class. */
  label: string | null;
  /** The event's fields as a JSON object, in text. */
  features: string;
  source: string;
  topic: string;
  partition: number;
  offset: number;
  schema_id: number | null;
  latency_ms: number;
  /** A shadow prediction is not an answer, but stored for comparison. */
  role: 'champion' | 'canary' | 'shadow';
  /** Offset on `millrace.models` of the alias event of the model, -1 if unknown. */
  model_event: number;
  model_event_at: string | null;
  /** All named outputs of the model as a JSON object, in text. `{}` in rows of earlier releases. */
  outputs: string;
}

export interface DeadLetterRow {
  /** A UUID. */
  dead_letter_id: string;
  pipeline: string;
  reason: string;
  detail: string;
  topic: string;
  partition: number;
  offset: number;
  schema_id: number | null;
  event_id: string | null;
  /** The failed record's key and value, byte for byte. */
  key: Uint8Array | null;
  value: Uint8Array | null;
  failed_at: string;
}

export interface DeadLetterResolutionRow {
  /** A UUID. */
  dead_letter_id: string;
  pipeline: string;
  /** `redriven` or `discarded`. */
  resolution: string;
  note: string;
  resolved_at: string;
}

export interface OutcomeRow {
  event_id: string;
  pipeline: string;
  outcome: number;
  observed_at: string;
  topic: string;
  partition: number;
  offset: number;
}

/** A model event from `millrace.models`. */
export interface ModelEventRow {
  /** Offset of its record. */
  model_event: number;
  model: string;
  kind: 'registered' | 'champion' | 'challenger';
  version: string | null;
  digest: string | null;
  previous_version: string | null;
  shadow: boolean;
  canary_share: number;
  source: string;
  at: string;
}

/** Views of the database `millrace` and their rows. */
export interface RowsByTable {
  predictions: PredictionRow;
  dead_letters: DeadLetterRow;
  dead_letter_resolutions: DeadLetterResolutionRow;
  outcomes: OutcomeRow;
  model_events: ModelEventRow;
}

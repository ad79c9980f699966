import { MillraceError } from '../platform/errors.js';

/** Times that ClickHouse's DateTime64(3) holds, milliseconds since 1970, UTC. It stores others as something else. */
const storableTime = { from: Date.UTC(1900, 0, 1), to: Date.UTC(2299, 11, 31) };

/** Whether a time, milliseconds since 1970, is one that can be stored: other clients write what they like. */
export function isStorable(time: number): boolean {
  return time >= storableTime.from && time <= storableTime.to;
}

/**
 * A time as rows have it, ISO 8601.
 *
 * @param name - of the column, for the error.
 * @throws MillraceError `ROW_INVALID` for one that ClickHouse can't hold.
 */
export function toRowTime(name: string, time: number): string {
  if (isStorable(time)) return new Date(time).toISOString();
  throw new MillraceError(
    'ROW_INVALID',
    `${name} is ${time} ms since 1970: the years 1900 to 2299 can be stored.`,
  );
}

/**
 * Rows as they are inserted and read, named as their columns. Times are ISO 8601 in UTC with milliseconds
 * (`2026-01-31T12:00:00.123Z`); `topic`, `partition`, `offset` say where the record is on the log.
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
  /** Finite: ClickHouse's JSON has no NaN, such a row is refused. */
  score: number;
  /** `null` where the model predicts no class. */
  label: string | null;
  /** The event's fields as a JSON object, in text. */
  features: string;
  source: string;
  topic: string;
  partition: number;
  offset: number;
  schema_id: number | null;
  latency_ms: number;
  /** A shadow prediction is no answer: it is kept beside the answer for comparison. */
  role: 'champion' | 'canary' | 'shadow';
  /** Offset on `millrace.models` of the alias event under which the model scored; -1 when none is known. */
  model_event: number;
  model_event_at: string | null;
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

/** An event of a model's life, from `millrace.models`. */
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

/** The views of the database `millrace` that take rows, and what their rows look like. */
export interface RowsByTable {
  predictions: PredictionRow;
  dead_letters: DeadLetterRow;
  dead_letter_resolutions: DeadLetterResolutionRow;
  outcomes: OutcomeRow;
  model_events: ModelEventRow;
}

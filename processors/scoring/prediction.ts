import { type PredictionRow, toRowTime } from '../../analytics/rows.js';
import type { Prediction } from '../../schemas/types.js';
import type { RecordPosition } from '../../streams/records.js';
import { predictionId } from '../events/ids.js';
import type { Scorer, Score } from './scorer.js';
/**
 * Header of an event's record with the prediction, in wire format, that a synchronous call has already made
 * of it. One record so contains event and prediction: both are on the log or neither, and the event is scored
 * once.
 */
export const carriedPredictionHeader = 'millrace-prediction';

/** The outputs, as text, of a prediction without any: of an earlier release. */
export const noOutputs = '{}';

/** Placeholder for the position of an event that is not on the log yet. */
export const notOnTheLog = { partition: -1, offset: -1 };

/** An event that fits its contract, and its metadata. */
export interface ReceivedEvent {
  eventId: string;
  /** When it happened, milliseconds since 1970, UTC. */
  eventTime: number;
  /** CloudEvents source. */
  source: string;
  fields: object;
  /** Key of its record: events with one key keep their order, and under a canary their version. */
  key: string;
  /** When Millrace received it, milliseconds since 1970, UTC. */
  receivedAt: number;
  /** Registry id of its record's schema; for JSON, of the contract that checked it. */
  schemaId: number;
  position: RecordPosition;
}

/**
 * Whether a prediction with these `features` was made of an event with these fields. The features are read by
 * the current contract: a missing field has its default, and a number is rounded to its type.
 */
export function isSameEvent(scorer: Pick<Scorer, 'validate'>, features: string, fields: object): boolean {
  const given = JSON.stringify(fields);
  if (features === given) return true;
  try {
    return JSON.stringify(scorer.validate(JSON.parse(features))) === given;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/** Returns the prediction record of an event and a model's score. */
export function makePrediction(
  pipeline: string,
  event: ReceivedEvent,
  { score, label, outputs, by: { manifest: model, digest, role, event: modelEvent, at } }: Score,
  now: number,
): Prediction {
  return {
    prediction_id: predictionId(event.eventId, digest),
    event_id: event.eventId,
    pipeline,
    model: model.name,
    model_version: model.version,
    model_digest: digest,
    event_time: event.eventTime,
    predicted_at: now,
    score,
    label,
    features: JSON.stringify(event.fields),
    source: event.source,
    topic: event.position.topic,
    partition: event.position.partition,
    offset: event.position.offset,
    schema_id: event.schemaId,
    latency_ms: Math.max(0, now - event.receivedAt),
    role,
    model_event: modelEvent,
    model_event_at: at,
    outputs: JSON.stringify(outputs),
  };
}

/**
 * Returns a prediction as a row of `millrace.predictions`.
 *
 * @throws MillraceError `ROW_INVALID` for a time that ClickHouse can't store.
 */
export function toPredictionRow(prediction: Prediction): PredictionRow {
  return {
    ...prediction,
    event_time: toRowTime('event_time', prediction.event_time),
    predicted_at: toRowTime('predicted_at', prediction.predicted_at),
    model_event_at:
      prediction.model_event_at === null ? null : toRowTime('model_event_at', prediction.model_event_at),
    outputs: prediction.outputs ?? noOutputs,
  };
}

/**
 * Returns the named outputs of a prediction: none for one of an earlier release, or of another producer that
 * wrote something else than a JSON object.
 */
export function outputsOf({ outputs }: Pick<PredictionRow, 'outputs'>): Readonly<Record<string, unknown>> {
  return parseOutputs(outputs) ?? {};
}

/** @returns undefined for text that is no JSON object. */
export function parseOutputs(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

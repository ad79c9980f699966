import { type PredictionRow, toRowTime } from '../../analytics/rows.js';
import type { Prediction } from '../../schemas/types.js';
import type { RecordPosition } from '../../streams/records.js';
import { predictionId } from '../events/ids.js';
import type { Scorer, Score } from './scorer.js';
/**
 * Header of an event's record that holds, in wire format, the prediction which a synchronous call has already
 * made of it. Event and prediction so get on the log in one record: either both are there or neither, and the
 * event is scored once.
 */
export const carriedPredictionHeader = 'millrace-prediction';

/** The place of an event that is not on the log yet. */
export const notOnTheLog = { partition: -1, offset: -1 };

/** An event that fits its contract, and what is known of how it came. */
export interface ReceivedEvent {
  eventId: string;
  /** When it happened, milliseconds since 1970, UTC. */
  eventTime: number;
  /** CloudEvents source. */
  source: string;
  fields: object;
  /** Of its record: events with one key keep their order, and under a canary their version. */
  key: string;
  /** When Millrace got it, milliseconds since 1970, UTC. */
  receivedAt: number;
  /** Registry id of the schema that its record is written with; of JSON, of the contract that checked it. */
  schemaId: number;
  position: RecordPosition;
}

/**
 * Whether a prediction with these `features` was made of an event with these fields. The features count as
 * the contract has them now: a field that they lack has its default, and a number is rounded to its type.
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

/** The prediction record of an event and the score that a model gave it. */
export function makePrediction(
  pipeline: string,
  event: ReceivedEvent,
  { score, label, by: { manifest: model, role, event: modelEvent, at } }: Score,
  now: number,
): Prediction {
  return {
    prediction_id: predictionId(event.eventId, model.digest),
    event_id: event.eventId,
    pipeline,
    model: model.name,
    model_version: model.version,
    model_digest: model.digest,
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
  };
}

/**
 * A prediction as a row of `millrace.predictions`.
 *
 * @throws MillraceError `ROW_INVALID` for a time that ClickHouse can't hold.
 */
export function toPredictionRow(prediction: Prediction): PredictionRow {
  return {
    ...prediction,
    event_time: toRowTime('event_time', prediction.event_time),
    predicted_at: toRowTime('predicted_at', prediction.predicted_at),
    model_event_at:
      prediction.model_event_at === null ? null : toRowTime('model_event_at', prediction.model_event_at),
  };
}

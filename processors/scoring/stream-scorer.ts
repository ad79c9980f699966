import { MillraceError } from '../../platform/errors.js';
import type { Metrics } from '../../platform/metrics.js';
import type { Prediction } from '../../schemas/types.js';
import { traceHeadersOf } from '../../platform/tracing/trace-headers.js';
import { parseTime } from '../../schemas/times.js';
import { cloudEventAttribute, cloudEventHeaders } from '../../streams/cloud-events.js';
import { jsonObject } from '../../streams/json-value.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { sizeOf, unreadableHeader } from '../../streams/records.js';
import { schemaIdOf, type Serde } from '../../streams/serde.js';
import { deadLetterRecord } from '../dead-letters/dead-letter.js';
import { asDeadLetterReason, reasonOf } from '../dead-letters/reasons.js';
import { isStorable } from '../../analytics/rows.js';
import { openEnvelope, replyHeaders } from '../events/envelope.js';
import { eventIdProblem, predictionId, recordEventId } from '../events/ids.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { outputMissing, type Score } from './scorer.js';
import { recordKey } from '../pipelines/pipeline.js';
import {
  carriedPredictionHeader,
  isSameEvent,
  makePrediction,
  parseOutputs,
  type ReceivedEvent,
} from './prediction.js';

/** Most bytes of a dead letter: their topic takes 2 MiB in a batch. */
export const maxRecordBytes = 1_500_000;
/** Most bytes of a shadow's prediction: topics take 1 MiB in a batch by default. */
const maxShadowBytes = 1_000_000;

export interface StreamScorerOptions {
  pipeline: OpenPipeline;
  serde: Serde;
  metrics: Metrics;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/** A decoded event's record: to be scored, already scored by a synchronous call, or invalid. */
type Item = { record: StreamRecord; eventId: string } & (
  | { kind: 'event'; event: ReceivedEvent }
  | { kind: 'scored'; event: ReceivedEvent; prediction: Prediction }
  | { kind: 'failed'; reason: MillraceError }
);

/**
 * Turns each record of `<pipeline>.events` into its output record: a prediction or a dead letter. It keeps no
 * state between calls, so any number of copies may run.
 */
export class StreamScorer {
  readonly #pipeline: OpenPipeline;
  readonly #serde: Serde;
  readonly #metrics: Metrics;
  readonly #now: () => number;

  constructor({ pipeline, serde, metrics, now = Date.now }: StreamScorerOptions) {
    this.#pipeline = pipeline;
    this.#serde = serde;
    this.#metrics = metrics;
    this.#now = now;
  }

  /**
   * Scores records.
   *
   * @returns one record for each of `records`, in their order, and in addition the prediction of a challenger
   *   in shadow.
   * @throws MillraceError with `retriable` when registry or model is unavailable; calling again loses and
   *   doubles nothing.
   */
  async process(records: StreamRecord[]): Promise<NewRecord[]> {
    const items: Item[] = [];
    const unscored: ReceivedEvent[] = [];
    const valid: ReceivedEvent[] = [];
    for (const record of records) {
      const read = this.#read(record);
      // Waits only for uncached schemas: a promise for each record would cost more than reading it.
      const item = read instanceof Promise ? await read : read;
      items.push(item);
      if (item.kind === 'event') unscored.push(item.event);
      if (item.kind !== 'failed') valid.push(item.event);
    }
    const { scorer } = this.#pipeline;
    const [scores, shadows] = await Promise.all([scorer.score(unscored), scorer.shadow(valid)]);
    return this.#toRecords(items, scores.values(), shadows.values());
  }

  /** Returns the dead letter of a record whose prediction the log refuses. */
  refused(record: StreamRecord, reason: MillraceError): NewRecord {
    return this.#deadLetter({ kind: 'failed', record, eventId: recordEventId(record), reason }, reason);
  }

  #toRecords(
    items: readonly Item[],
    scores: Iterator<Score | MillraceError>,
    shadows: Iterator<Score | undefined>,
  ): NewRecord[] {
    const { name } = this.#pipeline;
    const outputs: NewRecord[] = [];
    for (const item of items) {
      if (item.kind === 'failed') {
        outputs.push(this.#deadLetter(item, item.reason));
        continue;
      }
      const score = item.kind === 'scored' ? item.prediction : (scores.next().value ?? outputMissing());
      const answer = 'by' in score ? makePrediction(name, item.event, score, this.#now()) : score;
      const failed = answer instanceof MillraceError;
      outputs.push(failed ? this.#deadLetter(item, answer) : this.#prediction(item, answer));
      const shadow = shadows.next().value;
      if (shadow === undefined) continue;
      const beside = makePrediction(name, item.event, shadow, this.#now());
      // A call may have been answered by the version that is in shadow now: then it is one prediction, and an
      // answer.
      if (!failed && answer.prediction_id === beside.prediction_id) continue;
      const record = this.#predictionRecord(item, beside);
      if (sizeOf(record) > maxShadowBytes) this.#pipeline.scorer.noteDropped(shadow, tooLarge());
      else {
        this.#count(beside);
        outputs.push(record);
      }
    }
    return outputs;
  }

  #read(record: StreamRecord): Item | Promise<Item> {
    const eventId = recordEventId(record);
    const problem = eventIdProblem(record);
    if (problem !== undefined)
      return { kind: 'failed', record, eventId, reason: new MillraceError('EVENT_INVALID', problem) };
    const event = this.#readEvent(record, eventId);
    const carried = record.headers[carriedPredictionHeader];
    return carried === undefined ? event : this.#readScored(event, carried);
  }

  /**
   * Returns an event with the prediction that a synchronous call made of it, if it can't be anything else:
   * anyone may write to the topic, and programs that enrich events copy headers. Otherwise the event is
   * scored like any other.
   */
  async #readScored(reading: Item | Promise<Item>, carried: Buffer): Promise<Item> {
    const item = await reading;
    if (item.kind !== 'event') return item;
    const { name, prediction: contract } = this.#pipeline;
    const { record, eventId, event } = item;
    try {
      const prediction = (await this.#serde.decode(carried, contract.type)) as Prediction;
      const { topic, partition, offset } = record;
      const isOfThisEvent =
        prediction.pipeline === name &&
        prediction.event_id === eventId &&
        prediction.prediction_id === predictionId(eventId, prediction.model_digest) &&
        isSameEvent(this.#pipeline.scorer, prediction.features, event.fields) &&
        isStorable(prediction.event_time) &&
        isStorable(prediction.predicted_at) &&
        (prediction.model_event_at === null || isStorable(prediction.model_event_at)) &&
        prediction.role !== 'shadow' &&
        Number.isFinite(prediction.score) &&
        Number.isFinite(prediction.latency_ms) &&
        (prediction.outputs === null || parseOutputs(prediction.outputs) !== undefined);
      if (isOfThisEvent) {
        const here = { ...prediction, topic, partition, offset };
        return { kind: 'scored', record, eventId, event, prediction: here };
      }
    } catch (error) {
      asDeadLetterReason(error);
    }
    return item;
  }

  #readEvent(record: StreamRecord, eventId: string): Item | Promise<Item> {
    const failed = (error: unknown): Item => ({
      kind: 'failed',
      record,
      eventId,
      reason: asDeadLetterReason(error),
    });
    const toItem = (valid: object, eventTime?: number): Item => {
      const source = cloudEventAttribute(record.headers, 'source');
      const appendedAt = isStorable(record.timestamp) ? record.timestamp : this.#now();
      const event = {
        eventId,
        eventTime: this.#timeOf(record) ?? eventTime ?? appendedAt,
        source: source ?? 'kafka',
        fields: valid,
        key: record.key?.toString() ?? recordKey(this.#pipeline.pipeline, valid, eventId),
        receivedAt: appendedAt,
        // For JSON the id of the contract that checked it, as for an event over HTTP.
        schemaId: schemaIdOf(record.value) ?? this.#pipeline.event.schemaId,
        position: record,
      };
      return { kind: 'event', record, eventId, event };
    };
    try {
      const unreadable = record.headers[unreadableHeader];
      if (record.value === null && unreadable) throw new MillraceError('UNDECODABLE', unreadable.toString());
      const { value } = record;
      const json = jsonObject(value);
      if (json !== undefined) {
        const opened = openEnvelope(json, this.#pipeline.scorer);
        return opened instanceof MillraceError ? failed(opened) : toItem(opened.fields, opened.eventTime);
      }
      const toValid = (fields: unknown): Item => {
        const valid = this.#pipeline.scorer.validate(fields);
        return valid instanceof MillraceError ? failed(valid) : toItem(valid);
      };
      const fields = this.#serde.decode(value, this.#pipeline.event.type);
      return fields instanceof Promise ? fields.then(toValid).catch(failed) : toValid(fields);
    } catch (error) {
      return failed(error);
    }
  }

  /**
   * Returns the producer's time of the event. An unreadable or unstorable time is counted, and does not
   * discard the event.
   */
  #timeOf({ headers }: StreamRecord): number | undefined {
    const text = cloudEventAttribute(headers, 'time');
    if (text === undefined) return undefined;
    const time = parseTime(text);
    if (time !== undefined && isStorable(time)) return time;
    this.#metrics.unreadEventTimes.inc({ pipeline: this.#pipeline.name });
    return undefined;
  }

  #prediction(item: Item, prediction: Prediction): NewRecord {
    const { model, model_version } = prediction;
    this.#count(prediction);
    item.record.span?.setAttributes({ 'millrace.model': model, 'millrace.model_version': model_version });
    return this.#predictionRecord(item, prediction);
  }

  #count({ pipeline, model, model_version, role }: Prediction): void {
    this.#metrics.predictions.inc({ pipeline, model, model_version, role });
  }

  #predictionRecord({ record, eventId }: Item, prediction: Prediction): NewRecord {
    const { schemaId, type } = this.#pipeline.prediction;
    const { predictions: topic } = this.#pipeline.topics;
    const { pipeline } = prediction;
    return {
      topic,
      key: record.key ?? eventId,
      value: this.#serde.encode(schemaId, type, prediction),
      headers: {
        ...cloudEventHeaders({
          id: prediction.prediction_id,
          source: `millrace/${pipeline}`,
          type: 'millrace.prediction',
          time: new Date(prediction.predicted_at).toISOString(),
          trace: record.span?.send('kafka', topic) ?? traceHeadersOf(record.headers),
        }),
        ...replyHeaders(record),
      },
    };
  }

  #deadLetter({ record, eventId }: Item, reason: MillraceError): NewRecord {
    const { name: pipeline, topics } = this.#pipeline;
    this.#metrics.deadLetters.inc({ pipeline, reason: reasonOf(reason) });
    const schemaId = schemaIdOf(record.value);
    return deadLetterRecord(topics.deadLetters, pipeline, record, reason, {
      now: this.#now(),
      schemaId,
      eventId,
    });
  }
}

/** A shadow never affects an event: the log would refuse its record, and with it the answer. */
function tooLarge(): MillraceError {
  return new MillraceError(
    'RECORD_TOO_LARGE',
    `Its prediction has more than ${maxShadowBytes} bytes, which the log may refuse.`,
  );
}

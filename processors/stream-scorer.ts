import { MillraceError } from '../platform/errors.js';
import type { Metrics } from '../platform/metrics.js';
import type { Prediction } from '../schemas/types.js';
import { cloudEventAttribute, cloudEventHeaders, traceparentOf } from '../streams/cloud-events.js';
import type { NewRecord, StreamRecord } from '../streams/records.js';
import { unreadableHeader } from '../streams/records.js';
import { schemaIdOf, type Serde } from '../streams/serde.js';
import { deadLetterRecord, faultOfRecord } from './dead-letters.js';
import { isStorable, parseTime } from './event-time.js';
import { positionEventId, predictionId } from './ids.js';
import type { OpenPipeline } from './open-pipelines.js';
import { carriedPredictionHeader, makePrediction, type ReceivedEvent } from './prediction.js';

export interface StreamScorerOptions {
  pipeline: OpenPipeline;
  serde: Serde;
  metrics: Metrics;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/** As over HTTP, where an id has 256 characters at most. */
const maxEventIdBytes = 1024;

/** An event's record once read: to be scored, scored before it came here, or beyond scoring. */
type Item = { record: StreamRecord; eventId: string } & (
  | { kind: 'event'; event: ReceivedEvent }
  | { kind: 'scored'; prediction: Prediction }
  | { kind: 'failed'; reason: MillraceError }
);

/**
 * Turns each record of `<pipeline>.events` into the record that follows from it: a prediction or a dead letter.
 * Nothing is kept between calls, so any number of copies may run.
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
   * @returns one record for each of `records`, in their order.
   * @throws MillraceError with `retriable` when registry or model can't be had now; calling again loses and doubles nothing.
   */
  async process(records: StreamRecord[]): Promise<NewRecord[]> {
    const items: Item[] = [];
    for (const record of records) {
      const item = this.#read(record);
      // Waits only for what isn't cached: a promise for each record would cost more than reading it.
      items.push(item instanceof Promise ? await item : item);
    }
    const events = items.flatMap((item) => (item.kind === 'event' ? [item.event.fields] : []));
    const scores = (await this.#pipeline.scorer.score(events)).values();
    return items.map((item) => {
      if (item.kind === 'failed') return this.#deadLetter(item, item.reason);
      if (item.kind === 'scored') return this.#prediction(item, item.prediction);
      const score =
        scores.next().value ??
        new MillraceError('OUTPUT_INVALID', 'The model gave no output for this event.');
      if (score instanceof MillraceError) return this.#deadLetter(item, score);
      const { name, scorer } = this.#pipeline;
      return this.#prediction(
        item,
        makePrediction(name, item.event, score, scorer.model.manifest, this.#now()),
      );
    });
  }

  #read(record: StreamRecord): Item | Promise<Item> {
    const given = record.headers['ce_id'];
    if (given !== undefined && given.length > maxEventIdBytes) {
      const reason = new MillraceError(
        'EVENT_INVALID',
        `Its id has ${given.length} bytes, more than ${maxEventIdBytes}.`,
      );
      return { kind: 'failed', record, eventId: positionEventId(record), reason };
    }
    const eventId = given?.toString() || positionEventId(record);
    const event = this.#readEvent(record, eventId);
    const carried = record.headers[carriedPredictionHeader];
    return carried === undefined ? event : this.#readScored(event, carried);
  }

  /**
   * An event with the prediction that a synchronous call made of it. It counts only if it can be nothing else: anyone
   * may write to the topic, and programs that enrich events copy headers. Otherwise the event is scored like any other.
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
        prediction.features === JSON.stringify(event.fields) &&
        isStorable(prediction.event_time) &&
        isStorable(prediction.predicted_at) &&
        Number.isFinite(prediction.score) &&
        Number.isFinite(prediction.latency_ms);
      if (isOfThisEvent) {
        return { kind: 'scored', record, eventId, prediction: { ...prediction, topic, partition, offset } };
      }
    } catch (error) {
      faultOfRecord(error);
    }
    return item;
  }

  #readEvent(record: StreamRecord, eventId: string): Item | Promise<Item> {
    const failed = (error: unknown): Item => ({
      kind: 'failed',
      record,
      eventId,
      reason: faultOfRecord(error),
    });
    const toItem = (fields: object): Item => {
      const valid = this.#pipeline.scorer.validate(fields);
      if (valid instanceof MillraceError) return failed(valid);
      const source = cloudEventAttribute(record.headers, 'source');
      const time = cloudEventAttribute(record.headers, 'time');
      const appendedAt = isStorable(record.timestamp) ? record.timestamp : this.#now();
      const event = {
        eventId,
        eventTime: parseTime(time) ?? appendedAt,
        source: source ?? 'kafka',
        fields: valid,
        receivedAt: appendedAt,
        schemaId: schemaIdOf(record.value) ?? 0,
        position: record,
      };
      return { kind: 'event', record, eventId, event };
    };
    try {
      const unreadable = record.headers[unreadableHeader];
      if (record.value === null && unreadable) throw new MillraceError('UNDECODABLE', unreadable.toString());
      const fields = this.#serde.decode(record.value, this.#pipeline.event.type) as object | Promise<object>;
      return fields instanceof Promise ? fields.then(toItem).catch(failed) : toItem(fields);
    } catch (error) {
      return failed(error);
    }
  }

  #prediction({ record, eventId }: Item, prediction: Prediction): NewRecord {
    const { schemaId, type } = this.#pipeline.prediction;
    this.#metrics.predictions.inc({ pipeline: prediction.pipeline, model_version: prediction.model_version });
    return {
      topic: this.#pipeline.topics.predictions,
      key: record.key ?? eventId,
      value: this.#serde.encode(schemaId, type, prediction),
      headers: cloudEventHeaders({
        id: prediction.prediction_id,
        source: `millrace/${prediction.pipeline}`,
        type: 'millrace.prediction',
        time: new Date(prediction.predicted_at).toISOString(),
        ...traceOf(record),
      }),
    };
  }

  #deadLetter({ record, eventId }: Item, reason: MillraceError): NewRecord {
    const { name: pipeline, topics } = this.#pipeline;
    this.#metrics.deadLetters.inc({ pipeline, reason: reason.code });
    const schemaId = schemaIdOf(record.value);
    return deadLetterRecord(topics.deadLetters, pipeline, record, reason, {
      now: this.#now(),
      schemaId,
      eventId,
    });
  }
}

function traceOf({ headers }: StreamRecord): { traceparent?: string } {
  const traceparent = traceparentOf(headers);
  return traceparent === undefined ? {} : { traceparent };
}

import { MillraceError } from '../../platform/errors.js';
import type { Metrics } from '../../platform/metrics.js';
import type { Prediction } from '../../schemas/types.js';
import { traceHeadersOf } from '../../platform/tracing/trace-headers.js';
import { parseTime, toTimeText } from '../../schemas/times.js';
import { cloudEventAttribute, cloudEventHeaders } from '../../streams/cloud-events.js';
import { jsonObject } from '../../streams/json-value.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { sizeOf, unreadableHeader } from '../../streams/records.js';
import { schemaIdOf, type Serde } from '../../streams/serde.js';
import { deadLetterRecord } from '../dead-letters/dead-letter.js';
import { asDeadLetterReason, reasonOf } from '../dead-letters/reasons.js';
import { isStorable } from '../../analytics/rows.js';
import { copyReplyHeaders, openEnvelope } from '../events/envelope.js';
import { eventIdProblem, recordEventId } from '../events/ids.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { outputMissing, type Score } from './scorer.js';
import { recordKey } from '../pipelines/pipeline.js';
import { CarriedPredictions, type ScoredEvent } from './carried-prediction.js';
import { carriedPredictionHeader, makePrediction, type ReceivedEvent } from './prediction.js';

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
  | ({ kind: 'scored'; event: ReceivedEvent } & ScoredEvent)
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
  readonly #carried: CarriedPredictions;

  constructor({ pipeline, serde, metrics, now = Date.now }: StreamScorerOptions) {
    this.#pipeline = pipeline;
    this.#serde = serde;
    this.#metrics = metrics;
    this.#now = now;
    this.#carried = new CarriedPredictions(pipeline, serde);
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
    const outputs: NewRecord[] = [];
    const counts = new RunCounter<Prediction>(({ pipeline, model, model_version, role }, count) =>
      this.#metrics.predictions.inc({ pipeline, model, model_version, role }, count),
    );
    for (const item of items) {
      if (item.kind === 'failed') {
        outputs.push(this.#deadLetter(item, item.reason));
        continue;
      }
      const answer = this.#answer(item, scores);
      if (answer instanceof MillraceError) outputs.push(this.#deadLetter(item, answer));
      else {
        const { model, model_version } = answer.prediction;
        counts.add(answer.prediction);
        item.record.span?.setAttributes({ 'millrace.model': model, 'millrace.model_version': model_version });
        outputs.push(this.#predictionRecord(item, answer));
      }
      const shadow = shadows.next().value;
      if (shadow === undefined) continue;
      const beside = this.#encoded(item.event, shadow);
      // A call may have been answered by the version that is in shadow now: then it is one prediction, and an
      // answer.
      const { prediction_id: id } = beside.prediction;
      if (!(answer instanceof MillraceError) && answer.prediction.prediction_id === id) continue;
      const record = this.#predictionRecord(item, beside);
      if (sizeOf(record) > maxShadowBytes) this.#pipeline.scorer.noteDropped(shadow, tooLarge());
      else {
        counts.add(beside.prediction);
        outputs.push(record);
      }
    }
    counts.end();
    return outputs;
  }

  #answer(
    item: Exclude<Item, { kind: 'failed' }>,
    scores: Iterator<Score | MillraceError>,
  ): ScoredEvent | MillraceError {
    if (item.kind === 'scored') return item;
    const score = scores.next().value ?? outputMissing();
    return score instanceof MillraceError ? score : this.#encoded(item.event, score);
  }

  #encoded(event: ReceivedEvent, score: Score): ScoredEvent {
    const { name, prediction: contract } = this.#pipeline;
    const prediction = makePrediction(name, event, score, this.#now());
    return { prediction, value: this.#serde.encode(contract.schemaId, contract.type, prediction) };
  }

  #read(record: StreamRecord): Item | Promise<Item> {
    const eventId = recordEventId(record);
    const problem = eventIdProblem(record);
    if (problem !== undefined)
      return { kind: 'failed', record, eventId, reason: new MillraceError('EVENT_INVALID', problem) };
    const reading = this.#readEvent(record, eventId);
    const carried = record.headers[carriedPredictionHeader];
    if (carried === undefined) return reading;
    return reading instanceof Promise
      ? reading.then((item) => this.#readScored(item, carried))
      : this.#readScored(reading, carried);
  }

  #readScored(item: Item, carried: Buffer): Item | Promise<Item> {
    if (item.kind !== 'event') return item;
    const { record, eventId, event } = item;
    const toItem = (scored: ScoredEvent | undefined): Item =>
      scored === undefined ? item : { kind: 'scored', record, eventId, event, ...scored };
    const found = this.#carried.find(carried, event);
    return found instanceof Promise ? found.then(toItem) : toItem(found);
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

  #predictionRecord({ record, eventId }: Item, { prediction, value }: ScoredEvent): NewRecord {
    const { predictions: topic } = this.#pipeline.topics;
    const headers: NewRecord['headers'] = cloudEventHeaders({
      id: prediction.prediction_id,
      source: `millrace/${prediction.pipeline}`,
      type: 'millrace.prediction',
      time: toTimeText(prediction.predicted_at),
      trace: record.span?.send('kafka', topic) ?? traceHeadersOf(record.headers),
    });
    copyReplyHeaders(record, headers);
    return { topic, key: record.key ?? eventId, value, headers };
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

/** Counts equal predictions in a row at once: counting takes about as long as reading an event. */
class RunCounter<T extends Pick<Prediction, 'model' | 'model_version' | 'role'>> {
  readonly #count: (first: T, times: number) => void;
  #first: T | undefined;
  #times = 0;

  constructor(count: (first: T, times: number) => void) {
    this.#count = count;
  }

  add(next: T): void {
    const first = this.#first;
    if (
      first?.model !== next.model ||
      first.model_version !== next.model_version ||
      first.role !== next.role
    ) {
      this.end();
      this.#first = next;
    }
    this.#times++;
  }

  end(): void {
    if (this.#first !== undefined) this.#count(this.#first, this.#times);
    this.#first = undefined;
    this.#times = 0;
  }
}

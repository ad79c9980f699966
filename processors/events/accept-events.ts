import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Span } from '@opentelemetry/api';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { SharedStore } from '../../platform/shared-store.js';
import type { TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { sendEvents } from '../../platform/tracing/spans.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, RecordPosition } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { recordKey } from '../pipelines/pipeline.js';
import {
  carriedPredictionHeader,
  isSameEvent,
  makePrediction,
  notOnTheLog,
  type ReceivedEvent,
  toPredictionRow,
} from '../scoring/prediction.js';
import { outputMissing } from '../scoring/scorer.js';
import { type EventRecord, eventRecord, openEnvelope } from './envelope.js';
import { AcceptedEvents, digestOf, idConflict, type RepeatableEvent } from './idempotency.js';
import { idempotentEventId, newEventId } from './ids.js';
import { type PredictBatch, PredictBatcher } from './predict-batcher.js';
import { compact, type PredictionCache } from './prediction-cache.js';

/** Origin of events. */
export interface EventOrigin {
  /** CloudEvents source, such as `millrace/http`. */
  source: string;
  /** Derives ids for events without one, so that a repeated request has no further effect. */
  idempotencyKey?: string | undefined;
  /** Trace headers of the caller. */
  trace?: TraceHeaders | undefined;
}

/** Metadata that a transport has about a request. */
export interface RequestContext extends EventOrigin {
  /** The span of the request, while traces are on. */
  span?: Span | undefined;
  /** Time limit for the log, milliseconds. Records sent by then may still be written. */
  timeoutMs: number;
}

/** An event that fits its contract, with its id: {@link ReceivedEvent}. */
export type IdentifiedEvent = ReceivedEvent & RepeatableEvent;

/** An accepted event, and its record. */
export interface AcceptedEvent {
  event: IdentifiedEvent;
  record: EventRecord;
}

/** A prediction, or the error, for each event in a request. */
export type PredictResult = PredictionRow | MillraceError;

/** The error of one event that the log did not acknowledge. The others of its request may be written. */
export class NotWritten extends MillraceError {
  /** The event's id, given or generated. An event that is sent again under this id is written once. */
  readonly eventId: string;

  constructor({ code, message, retriable, misconfigured, cause }: MillraceError, eventId: string) {
    super(code, message, { retriable, misconfigured, cause });
    this.eventId = eventId;
  }

  override get members(): object {
    return { event_id: this.eventId };
  }
}

/** Number of events to validate before yielding to other work: about 2 ms. */
const validatedAtOnce = 200;

const noneKnown: ReadonlyMap<string, PredictionRow> = new Map();

export interface EventAcceptorOptions {
  producer: LogProducer;
  serde: Serde;
  /** The predictions of repeatable events. Unset: such events are predicted again. */
  cache?: PredictionCache | undefined;
  metrics: Metrics;
  logger: Logger;
  /** Where copies of the HTTP API share the event ids that they accepted. */
  shared?: SharedStore | undefined;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/**
 * Accepts events of any transport: validates them, gives them ids, and refuses an id that another event has.
 * {@link accept} leaves the writing to the caller; {@link publish} and {@link predict} return only what the
 * log has acknowledged.
 */
export class EventAcceptor {
  readonly #options: EventAcceptorOptions;
  readonly #now: () => number;
  /** Predictions in flight, so that a repeat waits for the first. */
  readonly #inFlight = new Map<string, Promise<PredictResult>>();
  readonly #accepted: AcceptedEvents;
  readonly #batcher = new PredictBatcher((batch) => this.#predictBatch(batch));

  constructor(options: EventAcceptorOptions) {
    this.#options = options;
    this.#accepted = new AcceptedEvents(options.shared, options.cache);
    this.#now = options.now ?? Date.now;
  }

  /**
   * Makes records of events, for a caller that writes them itself and then calls {@link confirm}.
   *
   * @returns for each event its record or its error.
   */
  async accept(
    pipeline: OpenPipeline,
    bodies: readonly unknown[],
    origin: EventOrigin,
  ): Promise<(AcceptedEvent | MillraceError)[]> {
    const events = await this.#identify(pipeline, bodies, origin);
    return events.map((event) =>
      event instanceof MillraceError
        ? event
        : { event, record: eventRecord(pipeline, this.#options.serde, event, origin.trace) },
    );
  }

  /**
   * Notes that the accepted ones among the results of {@link accept} are on the log: from now on other events
   * can't have their ids.
   */
  confirm(pipeline: OpenPipeline, results: readonly (AcceptedEvent | MillraceError)[]): void {
    const events = results.flatMap((result) => (result instanceof MillraceError ? [] : [result.event]));
    for (const event of events) this.#accepted.add(pipeline, event);
    const source = events[0]?.source;
    if (source !== undefined)
      this.#options.metrics.eventsAccepted.inc({ pipeline: pipeline.name, source }, events.length);
  }

  /**
   * Writes events to the log, for the stream to score. Resolves when the log has acknowledged or refused each
   * valid one.
   *
   * @returns for each event its id or its error: {@link NotWritten} for one that the log did not acknowledge.
   *   Sending it again under the same id creates no duplicate.
   */
  async publish(
    pipeline: OpenPipeline,
    bodies: readonly unknown[],
    context: RequestContext,
  ): Promise<(string | MillraceError)[]> {
    const events = await this.#identify(pipeline, bodies, context);
    const valid = events.flatMap((event) => (event instanceof MillraceError ? [] : [event]));
    const records = valid.map((event) => eventRecord(pipeline, this.#options.serde, event, context.trace));
    const outcomes = await this.#send(pipeline, records, context);
    const results = outcomes.values();
    return events.map((event) => {
      if (event instanceof MillraceError) return event;
      const outcome = results.next().value;
      if (outcome instanceof MillraceError) return new NotWritten(outcome, event.eventId);
      this.#accepted.add(pipeline, event);
      return event.eventId;
    });
  }

  /**
   * Scores events now. When this resolves, each prediction is on the log, in the record of its event. An
   * event id that already has a prediction gets that one.
   *
   * @returns for each event its prediction or its error: {@link NotWritten} if the log did not acknowledge
   *   it. Sending it again under the same id creates no duplicate.
   * @throws MillraceError with `retriable` when the model is unavailable.
   */
  async predict(
    pipeline: OpenPipeline,
    bodies: readonly unknown[],
    context: RequestContext,
  ): Promise<PredictResult[]> {
    const events = await this.#openAll(pipeline, bodies, context);
    const [first] = events;
    // Most requests: one event that can't be repeated. Nothing is to be looked up.
    if (events.length === 1 && first !== undefined && !(first instanceof MillraceError))
      if (first.digest === undefined) return [await this.#batcher.predict(pipeline, first, context)];
    await this.#refuseConflicts(pipeline, events);
    const known = await this.#findPredictions(pipeline, events);
    return Promise.all(
      events.map(async (event) =>
        event instanceof MillraceError
          ? event
          : this.#predictOnce(pipeline, event, known.get(event.eventId), context),
      ),
    );
  }

  async #identify(
    pipeline: OpenPipeline,
    bodies: readonly unknown[],
    origin: EventOrigin,
  ): Promise<(IdentifiedEvent | MillraceError)[]> {
    const events = await this.#openAll(pipeline, bodies, origin);
    await this.#refuseConflicts(pipeline, events);
    return events;
  }

  async #openAll(
    pipeline: OpenPipeline,
    bodies: readonly unknown[],
    origin: EventOrigin,
  ): Promise<(IdentifiedEvent | MillraceError)[]> {
    const events: (IdentifiedEvent | MillraceError)[] = [];
    for (const [index, body] of bodies.entries()) {
      events.push(this.#open(pipeline, body, origin, index));
      // A large request must not block others until all of it is validated.
      if (index % validatedAtOnce === validatedAtOnce - 1) await nextTurn();
    }
    return events;
  }

  /** Replaces events whose ids other events have by their error. */
  async #refuseConflicts(pipeline: OpenPipeline, events: (IdentifiedEvent | MillraceError)[]): Promise<void> {
    const repeatable = events.filter(isRepeatable);
    if (repeatable.length === 0) return;
    await this.#accepted.learn(pipeline, repeatable);
    const inThisRequest = new Map<string, string>();
    for (const [index, event] of events.entries()) {
      if (event instanceof MillraceError) continue;
      const conflict = this.#accepted.conflictOf(pipeline, event, inThisRequest);
      if (conflict !== undefined) events[index] = conflict;
      if (index % validatedAtOnce === validatedAtOnce - 1) await nextTurn();
    }
  }

  #open(
    pipeline: OpenPipeline,
    body: unknown,
    { idempotencyKey, source }: EventOrigin,
    index: number,
  ): IdentifiedEvent | MillraceError {
    const now = this.#now();
    const opened = openEnvelope(body, pipeline.scorer);
    if (opened instanceof MillraceError) return opened;
    const { fields } = opened;
    const chosenId =
      opened.eventId ??
      (idempotencyKey === undefined ? undefined : idempotentEventId(pipeline.name, idempotencyKey, index));
    const eventId = chosenId ?? newEventId();
    return {
      eventId,
      key: recordKey(pipeline.pipeline, fields, eventId),
      digest: chosenId === undefined ? undefined : digestOf(fields),
      eventTime: opened.eventTime ?? now,
      source,
      fields,
      receivedAt: now,
      schemaId: pipeline.event.schemaId,
      position: { topic: pipeline.topics.events, ...notOnTheLog },
    };
  }

  async #findPredictions(
    pipeline: OpenPipeline,
    events: readonly (IdentifiedEvent | MillraceError)[],
  ): Promise<ReadonlyMap<string, PredictionRow>> {
    const { cache, logger } = this.#options;
    const ids = events.filter(isRepeatable).map(({ eventId }) => eventId);
    if (ids.length === 0 || cache === undefined) return noneKnown;
    try {
      return await cache.find(pipeline.name, ids);
    } catch (error) {
      // Scoring again gives the same prediction id, so there is still one row; a refusal would make predict
      // depend on ClickHouse.
      logger.warn({ err: error }, 'could not look for earlier predictions of repeated event ids');
      return noneKnown;
    }
  }

  async #predictOnce(
    pipeline: OpenPipeline,
    event: IdentifiedEvent,
    known: PredictionRow | undefined,
    context: RequestContext,
  ): Promise<PredictResult> {
    const { eventId, digest, fields } = event;
    if (digest === undefined) return this.#batcher.predict(pipeline, event, context);
    const key = `${pipeline.name}\n${eventId}`;
    const earlier = known ?? this.#options.cache?.recall(pipeline.name, eventId) ?? this.#inFlight.get(key);
    if (earlier !== undefined) {
      const first = await earlier;
      if (first instanceof MillraceError || isSameEvent(pipeline.scorer, first.features, fields))
        return first;
      return idConflict(eventId);
    }
    const result = this.#batcher.predict(pipeline, event, context).finally(() => this.#inFlight.delete(key));
    this.#inFlight.set(key, result);
    return result;
  }

  async #predictBatch({ pipeline, context, events }: PredictBatch): Promise<PredictResult[]> {
    const { serde, cache } = this.#options;
    const { schemaId, type } = pipeline.prediction;
    const scores = await pipeline.scorer.score(events.map(({ event }) => event));
    const records: EventRecord[] = [];
    const predictions = events.map(({ event, trace }, index) => {
      const score = scores[index] ?? outputMissing();
      if (score instanceof MillraceError) return score;
      const prediction = makePrediction(pipeline.name, event, score, this.#now());
      const record = eventRecord(pipeline, serde, event, trace);
      const encoded = serde.encode(schemaId, type, prediction);
      record.headers[carriedPredictionHeader] = encoded;
      records.push(record);
      return { prediction, encoded };
    });
    const positions = (await this.#send(pipeline, records, context)).values();
    return events.map(({ event }, index) => {
      const made = predictions[index] ?? outputMissing();
      if (made instanceof MillraceError) return made;
      const position = positions.next().value ?? outputMissing();
      if (position instanceof MillraceError) return new NotWritten(position, event.eventId);
      const row = toPredictionRow(Object.assign(made.prediction, position));
      cache?.remember(row, compact(type, made.encoded, position));
      this.#accepted.add(pipeline, event);
      return row;
    });
  }

  async #send(
    pipeline: OpenPipeline,
    records: NewRecord[],
    { timeoutMs, source, span }: PredictBatch['context'],
  ): Promise<(RecordPosition | MillraceError)[]> {
    const parent = records.length === 0 ? undefined : span;
    const outcomes = await sendEvents(parent, pipeline.topics.events, records, () =>
      this.#options.producer.sendEach(records, { timeoutMs }),
    );
    const written = outcomes.filter((outcome) => !(outcome instanceof MillraceError)).length;
    this.#options.metrics.eventsAccepted.inc({ pipeline: pipeline.name, source }, written);
    return outcomes;
  }
}

/** Whether an event may be repeated: {@link RepeatableEvent}. */
function isRepeatable(event: IdentifiedEvent | MillraceError): event is IdentifiedEvent {
  return !(event instanceof MillraceError) && event.digest !== undefined;
}

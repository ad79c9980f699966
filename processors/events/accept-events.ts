import { hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { TraceHeaders } from '../../platform/tracing/trace-headers.js';
import { type Sending, timed, type Work } from '../../platform/tracing/traces.js';
import { idempotentEventId, newEventId } from './ids.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { recordKey } from '../pipelines/pipeline.js';
import {
  carriedPredictionHeader,
  isSameEvent,
  makePrediction,
  notOnTheLog,
  type Position,
  type ReceivedEvent,
  toPredictionRow,
} from '../scoring/prediction.js';
import { outputMissing } from '../scoring/scorer.js';
import type { Prediction } from '../../schemas/types.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import { AcceptedEvents } from './accepted-events.js';
import { openEnvelope, eventRecord } from './envelope.js';
import type { PredictionCache } from './prediction-cache.js';
import type { SharedStore } from '../../platform/shared-store.js';

/** What a transport knows of a request, beside its events. */
export interface RequestContext {
  /** CloudEvents source, such as `millrace/http`. */
  source: string;
  /** Makes event ids for events that bring none, so that a repeated request repeats nothing. */
  idempotencyKey?: string | undefined;
  /** What the events come from, while traces are recorded. */
  work?: Work | undefined;
  /** The trace that the events belong to. */
  trace?: TraceHeaders | undefined;
  /**
   * Puts events on the log in a way of the transport's own. Gets for each event its record or what is wrong with it; what
   * it throws `publish` throws. Default: what has a record is sent as soon as possible.
   */
  write?: (outcomes: readonly EventOutcome[]) => Promise<void>;
  /** How long to wait for the log, milliseconds. What was sent by then may still get there. */
  timeoutMs: number;
}

/** The record of an event, or why there is none. */
export type EventOutcome = ReturnType<typeof eventRecord> | MillraceError;

/** A prediction, or why there is none, for each event in a request. */
export type PredictResult = PredictionRow | MillraceError;

/** What the log says of one event that it did not acknowledge. The others of its request may be written. */
export class NotWritten extends MillraceError {
  /** The event's own id, or the one that it got: sent again under it, it is there once. */
  readonly eventId: string;

  constructor({ code, message, retriable, misconfigured, cause }: MillraceError, eventId: string) {
    super(code, message, { retriable, misconfigured, cause });
    this.eventId = eventId;
  }

  override get members(): object {
    return { event_id: this.eventId };
  }
}

/** A received event, and whether its id may have come before: the client chose it. */
type IntakeEvent = ReceivedEvent & { mayRepeat: boolean };

/** Events that are validated before other work gets its turn: about 2 ms. */
const validatedAtOnce = 200;

const noneKnown: ReadonlyMap<string, PredictionRow> = new Map();

export interface IntakeOptions {
  producer: LogProducer;
  serde: Serde;
  cache: PredictionCache;
  metrics: Metrics;
  logger: Logger;
  /** Where copies of the HTTP API find which event ids the others accepted. */
  shared?: SharedStore | undefined;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/**
 * The way in for events, whichever transport brought them: validates, gives ids, and answers only what the log has
 * acknowledged.
 */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #now: () => number;
  /** Events that are being predicted now, so that a repeat that comes meanwhile waits for the first. */
  readonly #underWay = new Map<string, Promise<PredictResult>>();
  readonly #accepted: AcceptedEvents;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#accepted = new AcceptedEvents(options.shared);
    this.#now = options.now ?? Date.now;
  }

  /**
   * Puts events on the log to be scored by the stream. Resolves when the log has acknowledged all that are valid, or said why
   * it does not.
   *
   * @returns for each event its id or what is wrong with it: {@link NotWritten} for one that the log did not acknowledge.
   *   Sending it again under the same id doubles nothing.
   */
  async publish(
    pipeline: OpenPipeline,
    bodies: unknown[],
    context: RequestContext,
  ): Promise<(string | MillraceError)[]> {
    const events = await this.#receive(pipeline, bodies, context);
    const valid = events.flatMap((event) => (event instanceof MillraceError ? [] : [event]));
    const failed = new Map<IntakeEvent, NotWritten>();
    if (context.write === undefined) {
      const outcomes = await this.#send(pipeline, valid.length, context, (sending) =>
        valid.map((event) => this.#toRecord(pipeline, event, sending?.nextHeaders() ?? context.trace)),
      );
      for (const [index, event] of valid.entries()) {
        const outcome = outcomes[index];
        if (outcome instanceof MillraceError) failed.set(event, new NotWritten(outcome, event.eventId));
      }
    } else {
      await context.write(
        events.map((event) =>
          event instanceof MillraceError ? event : this.#toRecord(pipeline, event, context.trace),
        ),
      );
      this.#options.metrics.eventsAccepted.inc(
        { pipeline: pipeline.name, source: context.source },
        valid.length,
      );
    }
    for (const event of valid) {
      if (event.mayRepeat && !failed.has(event)) this.#accepted.add(keyOf(pipeline, event), digestOf(event));
    }
    return events.map((event) =>
      event instanceof MillraceError ? event : (failed.get(event) ?? event.eventId),
    );
  }

  /**
   * Scores events now. When this resolves each prediction is on the log, in the record of its event. An event id that
   * has a prediction already gets that one.
   *
   * @returns for each event its prediction or why there is none: {@link NotWritten} where the log did not acknowledge it.
   *   Sending it again under the same id doubles nothing.
   * @throws MillraceError with `retriable` when the model can't be reached.
   */
  async predict(
    pipeline: OpenPipeline,
    bodies: unknown[],
    context: RequestContext,
  ): Promise<PredictResult[]> {
    const events = await this.#receive(pipeline, bodies, context);
    const known = await this.#findKnown(pipeline, events);
    return Promise.all(
      events.map(async (event) =>
        event instanceof MillraceError
          ? event
          : this.#predictOnce(pipeline, event, known.get(event.eventId), context),
      ),
    );
  }

  async #receive(
    pipeline: OpenPipeline,
    bodies: unknown[],
    context: RequestContext,
  ): Promise<(IntakeEvent | MillraceError)[]> {
    const opened: (IntakeEvent | MillraceError)[] = [];
    for (const [index, body] of bodies.entries()) {
      opened.push(this.#open(pipeline, body, context, index));
      // A large request must not keep the others waiting until all of it is validated.
      if (index % validatedAtOnce === validatedAtOnce - 1) await nextTurn();
    }
    const mayRepeat = opened.flatMap((event) =>
      event instanceof MillraceError || !event.mayRepeat ? [] : [keyOf(pipeline, event)],
    );
    if (mayRepeat.length === 0) return opened;
    await this.#accepted.learn(mayRepeat);
    const inThisRequest = new Map<string, string>();
    const events: (IntakeEvent | MillraceError)[] = [];
    for (const [index, event] of opened.entries()) {
      const conflict =
        event instanceof MillraceError ? event : this.#conflictOf(pipeline, event, inThisRequest);
      events.push(conflict ?? event);
      if (index % validatedAtOnce === validatedAtOnce - 1) await nextTurn();
    }
    return events;
  }

  #open(
    pipeline: OpenPipeline,
    body: unknown,
    context: RequestContext,
    index: number,
  ): IntakeEvent | MillraceError {
    const now = this.#now();
    const opened = openEnvelope(body, pipeline.scorer);
    if (opened instanceof MillraceError) return opened;
    const { idempotencyKey, source } = context;
    const chosenId =
      opened.eventId ??
      (idempotencyKey === undefined ? undefined : idempotentEventId(pipeline.name, idempotencyKey, index));
    const eventId = chosenId ?? newEventId();
    return {
      eventId,
      key: recordKey(pipeline.pipeline, opened.fields, eventId),
      mayRepeat: chosenId !== undefined,
      eventTime: opened.eventTime ?? now,
      source,
      fields: opened.fields,
      receivedAt: now,
      schemaId: pipeline.event.schemaId,
      position: { topic: pipeline.topics.events, ...notOnTheLog },
    };
  }

  /** Whether another event was accepted lately, or stands earlier in the request, under the same id. */
  #conflictOf(
    pipeline: OpenPipeline,
    event: IntakeEvent,
    inThisRequest: Map<string, string>,
  ): MillraceError | undefined {
    if (!event.mayRepeat) return undefined;
    const digest = digestOf(event);
    const earlier = inThisRequest.get(event.eventId) ?? this.#accepted.get(keyOf(pipeline, event));
    inThisRequest.set(event.eventId, earlier ?? digest);
    if (earlier !== undefined && earlier !== digest) return idConflict(event);
    const predicted = this.#options.cache.recall(pipeline.name, event.eventId);
    if (predicted === undefined) return undefined;
    const known = unlessOtherEvent(pipeline, predicted, event);
    return known instanceof MillraceError ? known : undefined;
  }

  async #findKnown(
    pipeline: OpenPipeline,
    events: (IntakeEvent | MillraceError)[],
  ): Promise<ReadonlyMap<string, PredictionRow>> {
    const ids = events.flatMap((event) =>
      event instanceof MillraceError || !event.mayRepeat ? [] : [event.eventId],
    );
    if (ids.length === 0) return noneKnown;
    try {
      return await this.#options.cache.find(pipeline.name, ids);
    } catch (error) {
      // Scoring again gives the same prediction id, so the row stays one; refusing would make ClickHouse a must for predict.
      this.#options.logger.warn(
        { err: error },
        'could not look for earlier predictions of repeated event ids',
      );
      return noneKnown;
    }
  }

  async #predictOnce(
    pipeline: OpenPipeline,
    event: IntakeEvent,
    known: PredictionRow | undefined,
    context: RequestContext,
  ): Promise<PredictResult> {
    if (!event.mayRepeat) return this.#predictNow(pipeline, event, context);
    const key = keyOf(pipeline, event);
    const earlier =
      known ?? this.#options.cache.recall(pipeline.name, event.eventId) ?? this.#underWay.get(key);
    if (earlier !== undefined) {
      const first = await earlier;
      return first instanceof MillraceError ? first : unlessOtherEvent(pipeline, first, event);
    }
    const result = this.#predictNow(pipeline, event, context).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, result);
    return result;
  }

  async #predictNow(
    pipeline: OpenPipeline,
    event: IntakeEvent,
    context: RequestContext,
  ): Promise<PredictResult> {
    const [score = outputMissing()] = await pipeline.scorer.score([event]);
    if (score instanceof MillraceError) return score;
    const prediction = makePrediction(pipeline.name, event, score, this.#now());
    const [position] = await this.#send(pipeline, 1, context, (sending) => [
      this.#toRecord(pipeline, event, sending?.nextHeaders() ?? context.trace, prediction),
    ]);
    if (position instanceof MillraceError) return new NotWritten(position, event.eventId);
    const row = toPredictionRow({ ...prediction, ...position });
    this.#options.cache.remember(row);
    if (event.mayRepeat) this.#accepted.add(keyOf(pipeline, event), digestOf(event));
    return row;
  }

  #toRecord(
    pipeline: OpenPipeline,
    event: IntakeEvent,
    trace: TraceHeaders | undefined,
    prediction?: Prediction,
  ): ReturnType<typeof eventRecord> {
    const record = eventRecord(pipeline, this.#options.serde, event, trace);
    if (prediction !== undefined) {
      const { schemaId, type } = pipeline.prediction;
      record.headers[carriedPredictionHeader] = this.#options.serde.encode(schemaId, type, prediction);
    }
    return record;
  }

  async #send(
    pipeline: OpenPipeline,
    count: number,
    { timeoutMs, source, work }: RequestContext,
    toRecords: (sending: Sending | undefined) => NewRecord[],
  ): Promise<(Position | MillraceError)[]> {
    const sending = count === 0 ? undefined : work?.send(pipeline.topics.events);
    const records = toRecords(sending);
    const outcomes = await timed(sending, this.#options.producer.sendEach(records, { timeoutMs }));
    const written = outcomes.filter((outcome) => !(outcome instanceof MillraceError)).length;
    this.#options.metrics.eventsAccepted.inc({ pipeline: pipeline.name, source }, written);
    return outcomes;
  }
}

/** The earlier prediction if it is of the same event, field by field; another event has no right to its id. */
function unlessOtherEvent(
  { scorer }: OpenPipeline,
  earlier: PredictionRow,
  event: ReceivedEvent,
): PredictResult {
  return isSameEvent(scorer, earlier.features, event.fields) ? earlier : idConflict(event);
}

function idConflict({ eventId }: ReceivedEvent): MillraceError {
  return new MillraceError(
    'EVENT_ID_CONFLICT',
    `The id ${eventId} was given to an event with other fields before. Send the same event, or a new id or Idempotency-Key.`,
  );
}

function keyOf(pipeline: OpenPipeline, event: ReceivedEvent): string {
  return `${pipeline.name}\n${event.eventId}`;
}

function digestOf(event: ReceivedEvent): string {
  return hash('sha1', JSON.stringify(event.fields), 'base64');
}

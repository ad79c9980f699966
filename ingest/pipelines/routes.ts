import { type Context, Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import { z } from 'zod';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import type { PipelineDown, Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { pipelineTopics } from '../../streams/topics.js';
import type { EventAcceptor, RequestContext } from '../../processors/events/accept-events.js';
import { type Problem, toProblem } from '../../platform/problem.js';
import { eventShape, mostValues } from '../../schemas/field-types.js';
import { sendProblem } from '../problems.js';
import { outputsOf } from '../../processors/scoring/prediction.js';
import { callerOf, spanOf } from '../middleware/trace-requests.js';
import { mayUse } from '../middleware/authorization.js';
import {
  answer,
  bodyCodes,
  eventCodes,
  problems,
  ref,
  scoringCodes,
  withList,
  withMembers,
} from '../openapi/describe.js';
import { idempotencyKeyOf, idempotencyKeyParameter } from './idempotency-key.js';
import { readRequestEvents } from '../request-body.js';
import {
  acceptedSchema,
  type pipelineSchema,
  pipelinesSchema,
  type Prediction,
  predictionSchema,
  predictionsSchema,
} from './schemas.js';

export interface PipelineRoutesOptions {
  requestTimeoutMs: number;
  /** Maximum events of one request. */
  maxEvents: number;
}

const requestCodes = [
  ...bodyCodes,
  'BODY_EMPTY',
  'TOO_MANY_EVENTS',
  'IDEMPOTENCY_KEY_INVALID',
  'PIPELINE_UNKNOWN',
  'PIPELINE_DOWN',
] as const;
const predictFailures = problems(...requestCodes, ...scoringCodes);
const eventFailures = problems(...requestCodes, ...eventCodes);

// `Event` is replaced by the event of each pipeline: see openapi/document.ts.
const eventOrList = { oneOf: [ref('Event'), { type: 'array' as const, items: ref('Event'), minItems: 1 }] };
const requestContent = {
  'application/json': { schema: eventOrList },
  'application/x-ndjson': { schema: { type: 'string' as const, description: 'One event per line.' } },
};

const describePredict = describeRoute({
  summary: 'Score one event or an array now. Each prediction is on the log when this answers.',
  parameters: [idempotencyKeyParameter],
  requestBody: { required: true, content: requestContent },
  responses: {
    ...predictFailures,
    200: answer('The prediction, or all of them in order.', z.union([predictionSchema, predictionsSchema])),
    207: answer('Some events failed: each has its problem in its place.', predictionsSchema),
    422: withList(predictFailures, 422, predictionsSchema),
    503: withMembers(predictFailures, 503, 'Predictions'),
  },
});

const describeEvents = describeRoute({
  summary: 'Put events on the log, to be scored by the stream.',
  parameters: [idempotencyKeyParameter],
  requestBody: { required: true, content: requestContent },
  responses: {
    ...eventFailures,
    202: answer('The log has acknowledged all events.', acceptedSchema),
    207: answer('The log has acknowledged some events; the others are named by index.', acceptedSchema),
    422: withList(eventFailures, 422, acceptedSchema),
    503: withMembers(eventFailures, 503, 'Accepted'),
  },
});

/** `/v1/pipelines` and all paths below it. */
export function pipelineRoutes(
  pipelines: Pipelines,
  acceptor: EventAcceptor,
  { requestTimeoutMs, maxEvents }: PipelineRoutesOptions,
): Hono {
  const app = new Hono();
  const find = (c: Context): OpenPipeline => pipelines.find(c.req.param('pipeline') ?? '');

  app.get(
    '/',
    describeRoute({
      tags: ['pipelines'],
      summary: 'Pipelines, and the model version that each scores with.',
      responses: { 200: answer('Every pipeline that the client may see.', pipelinesSchema) },
    }),
    (c) => {
      const all = [
        ...Array.from(pipelines.values(), describe),
        ...Array.from(pipelines.down.values(), describeDown),
      ];
      const visible = all.filter(({ name }) => mayUse(c, name));
      return c.json({ pipelines: visible.toSorted((a, b) => (a.name < b.name ? -1 : 1)) });
    },
  );

  app.post('/:pipeline/predict', describePredict, async (c) => {
    const pipeline = find(c);
    const { single, events } = await readRequestEvents(c, maxEvents, valuesOf(pipeline));
    const results = await acceptor.predict(pipeline, events, contextOf(c, requestTimeoutMs));
    const [first] = results;
    if (single && first !== undefined) {
      return first instanceof MillraceError ? sendProblem(c, first) : c.json(toAnswer(first));
    }
    let failures = 0;
    const predictions = results.map((result) =>
      result instanceof MillraceError ? toItemProblem(result, failures++) : toAnswer(result),
    );
    const unavailable = unavailableOf(results);
    if (unavailable) return sendProblem(c, unavailable, { predictions });
    return c.json({ predictions }, statusOf(results));
  });

  app.post('/:pipeline/events', describeEvents, async (c) => {
    const pipeline = find(c);
    const { single, events } = await readRequestEvents(c, maxEvents, valuesOf(pipeline));
    const results = await acceptor.publish(pipeline, events, contextOf(c, requestTimeoutMs));
    const [first] = results;
    if (single && first instanceof MillraceError) return sendProblem(c, first);
    const accepted = results.filter((result) => typeof result === 'string');
    const rejected = results
      .flatMap((result, index) => (result instanceof MillraceError ? [{ index, result }] : []))
      .map(({ index, result }, nth) => ({ index, ...toItemProblem(result, nth) }));
    const status = rejected.length === 0 ? 202 : statusOf(results);
    const body = { accepted: accepted.length, event_ids: accepted, rejected };
    const unavailable = unavailableOf(results);
    return unavailable ? sendProblem(c, unavailable, body) : c.json(body, status);
  });
  return app;
}

const values = new WeakMap<OpenPipeline, number>();

/** Twice what fits: an event with some more gets the names of its wrong fields. */
function valuesOf(pipeline: OpenPipeline): number {
  const known = values.get(pipeline) ?? 2 * mostValues(eventShape(pipeline.event.schema));
  values.set(pipeline, known);
  return known;
}

function describe({ name, scorer }: OpenPipeline): z.infer<typeof pipelineSchema> {
  const models = scorer
    .championVersions()
    .map(({ manifest, digest }) => ({ name: manifest.name, version: manifest.version, digest }));
  return {
    name,
    status: 'up',
    reason: null,
    model: models[0]?.name,
    model_version: models[0]?.version,
    model_digest: models[0]?.digest,
    models,
    topics: topicsOf(name),
  };
}

function describeDown({ pipeline: name, reason }: PipelineDown): z.infer<typeof pipelineSchema> {
  return { name, status: 'down', reason, models: [], topics: topicsOf(name) };
}

function topicsOf(name: string): z.infer<typeof pipelineSchema>['topics'] {
  const { events, predictions, deadLetters, outcomes } = pipelineTopics(name);
  return { events, predictions, dead_letters: deadLetters, outcomes };
}

/** Returns the metadata of a request for all its events. @throws MillraceError `IDEMPOTENCY_KEY_INVALID` */
export function contextOf(c: Context, timeoutMs: number): RequestContext {
  return {
    source: 'millrace/http',
    idempotencyKey: idempotencyKeyOf(c),
    span: spanOf(c),
    trace: callerOf(c),
    timeoutMs,
  };
}

/**
 * Number of problems of one answer that name every wrong field; the others have only their code, or a list of
 * bad events would make an answer many times its length.
 */
const fullProblems = 100;

function toItemProblem(error: MillraceError, nth: number): Problem {
  const { errors, ...brief } = toProblem(error);
  return nth < fullProblems && errors !== undefined ? { ...brief, errors } : brief;
}

/** Returns the same answer for a fresh and a stored row: text for text. */
export function toAnswer(row: PredictionRow): Prediction {
  return {
    event_id: row.event_id,
    prediction_id: row.prediction_id,
    pipeline: row.pipeline,
    model: row.model,
    model_version: row.model_version,
    model_digest: row.model_digest,
    event_time: row.event_time,
    predicted_at: row.predicted_at,
    score: row.score,
    label: row.label,
    outputs: outputsOf(row),
    // A shadow prediction is no answer.
    role: row.role as Prediction['role'],
    model_event: row.model_event,
    model_event_at: row.model_event_at,
  };
}

/** Returns the error when nothing of a request was done, but a retry may succeed. */
function unavailableOf(results: readonly unknown[]): MillraceError | undefined {
  const errors = results.filter((result) => result instanceof MillraceError);
  return errors.length === results.length
    ? errors.find((error) => toProblem(error).status === 503)
    : undefined;
}

/** Returns 200 when all succeeded, 422 when nothing did, and else 207 (RFC 4918: see each item). */
function statusOf(results: readonly unknown[]): 200 | 207 | 422 {
  const failed = results.filter((result) => result instanceof MillraceError).length;
  if (failed === 0) return 200;
  return failed === results.length ? 422 : 207;
}

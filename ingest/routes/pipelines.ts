import { type Context, Hono } from 'hono';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../../processors/open-pipelines.js';
import type { Intake, PredictResult, RequestContext } from '../intake.js';
import { type Problem, sendProblem, toProblem } from '../problems.js';
import { readRequestEvents } from '../request-events.js';

/** What `predict` tells of a prediction; the rest is at `/v1/predictions/{eventId}`. */
export type PredictionAnswer = Omit<
  PredictionRow,
  'features' | 'source' | 'topic' | 'partition' | 'offset' | 'schema_id' | 'latency_ms'
>;

/** `/v1/pipelines` and what is below it. */
export function pipelineRoutes(
  pipelines: ReadonlyMap<string, OpenPipeline>,
  intake: Intake,
  requestTimeoutMs: number,
): Hono {
  const app = new Hono();
  const find = (c: Context): OpenPipeline => {
    const name = c.req.param('pipeline') ?? '';
    const pipeline = pipelines.get(name);
    if (pipeline !== undefined) return pipeline;
    const names = [...pipelines.keys()].join(', ');
    throw new MillraceError('PIPELINE_UNKNOWN', `There is no pipeline '${name}'. There are: ${names}.`);
  };

  app.get('/', (c) => c.json({ pipelines: [...pipelines.values()].map(describe) }));

  app.post('/:pipeline/predict', async (c) => {
    const pipeline = find(c);
    const { single, events } = await readRequestEvents(c);
    const results = await intake.predict(pipeline, events, contextOf(c, requestTimeoutMs));
    const [first] = results;
    if (single && first !== undefined) {
      return first instanceof MillraceError ? sendProblem(c, first) : c.json(toAnswer(first));
    }
    const predictions = results.map(toItem);
    return c.json({ predictions }, statusOf(results));
  });

  app.post('/:pipeline/events', async (c) => {
    const pipeline = find(c);
    const { single, events } = await readRequestEvents(c);
    const results = await intake.publish(pipeline, events, contextOf(c, requestTimeoutMs));
    const [first] = results;
    if (single && first instanceof MillraceError) return sendProblem(c, first);
    const accepted = results.filter((result) => typeof result === 'string');
    const rejected = results.flatMap((result, index) =>
      result instanceof MillraceError ? [{ index, ...toProblem(result) }] : [],
    );
    const status = rejected.length === 0 ? 202 : statusOf(results);
    return c.json({ accepted: accepted.length, event_ids: accepted, rejected }, status);
  });
  return app;
}

function describe({ name, scorer, topics }: OpenPipeline): object {
  const { manifest } = scorer.model;
  return {
    name,
    model: manifest.name,
    model_version: manifest.version,
    model_digest: manifest.digest,
    topics,
  };
}

function contextOf(c: Context, timeoutMs: number): RequestContext {
  return {
    source: 'millrace/http',
    idempotencyKey: c.req.header('idempotency-key'),
    traceparent: c.req.header('traceparent'),
    timeoutMs,
  };
}

function toItem(result: PredictResult): PredictionAnswer | Problem {
  return result instanceof MillraceError ? toProblem(result) : toAnswer(result);
}

function toAnswer(row: PredictionRow): PredictionAnswer {
  const {
    features: _f,
    source: _s,
    topic: _t,
    partition: _p,
    offset: _o,
    schema_id: _i,
    latency_ms: _l,
    ...answer
  } = row;
  return answer;
}

/** 200 when all went well, 422 when nothing did, and 207 (RFC 4918: look at each item) between. */
function statusOf(results: readonly unknown[]): 200 | 207 | 422 {
  const failed = results.filter((result) => result instanceof MillraceError).length;
  if (failed === 0) return 200;
  return failed === results.length ? 422 : 207;
}

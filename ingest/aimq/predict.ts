import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { describeRoute } from 'hono-openapi';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { aimqPipeline } from '../middleware/authorization.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { isAmbiguousNumber } from '../../schemas/number-text.js';
import { envelopeSchema } from '../../processors/events/envelope.js';
import type { EventAcceptor } from '../../processors/events/accept-events.js';
import type { Problem } from '../../platform/problem.js';
import { parseJson, readText } from '../request-body.js';
import { aimqProblems, answer, bodyCodes, ref, scoringCodes } from '../openapi/describe.js';
import { idempotencyKeyParameter } from '../pipelines/idempotency-key.js';
import { priceSchema } from './schemas.js';
import { contextOf } from '../pipelines/routes.js';

// `Event` is replaced by the event of the pipeline: see openapi/document.ts.
const describe = describeRoute({
  tags: ['AIMQ'],
  summary: 'Price one car, as AIMQ does. Fields that a car does not have are ignored.',
  parameters: [idempotencyKeyParameter],
  requestBody: { required: true, content: { 'application/json': { schema: ref('Event') } } },
  responses: {
    200: answer('The price. It is on the log when this answers.', priceSchema),
    ...aimqProblems(...bodyCodes, 'IDEMPOTENCY_KEY_INVALID', 'PIPELINE_DOWN', ...scoringCodes),
  },
});

/**
 * `POST /predict`, and `/predict/onnx` of its internal service, in AIMQ's form: one car in, `predicted_price`
 * out.
 */
export function aimqRoutes(
  pipelines: Pipelines,
  acceptor: EventAcceptor,
  { requestTimeoutMs }: { requestTimeoutMs: number },
): Hono {
  const app = new Hono();
  const predict = async (c: Context): Promise<Response> => {
    const carPrice = pipelines.find(aimqPipeline);
    const toCar = readerOf(carPrice);
    // AIMQ reads JSON with any content type.
    const car = toCar(parseJson(await readText(c, 'json', 1)));
    const [result] = await acceptor.predict(carPrice, [car], contextOf(c, requestTimeoutMs));
    if (result === undefined || result instanceof MillraceError) throw result;
    const { score, event_id, model, model_version } = result;
    return c.json({ predicted_price: score, event_id, model, model_version });
  };
  for (const path of ['/predict', '/predict/onnx']) app.post(path, describe, predict);
  app.post('/predict/pickle', () => {
    throw new MillraceError(
      'NOT_FOUND',
      'No pickle is run here: that would run any code in it. POST /predict/onnx gives the price by ONNX.',
    );
  });
  return app;
}

/**
 * Returns problems in AIMQ's form: its `error` is added to our members, and an invalid event has the status
 * 400.
 */
export function aimqErrors(): MiddlewareHandler {
  return async (c, next) => {
    await next();
    if (!c.res.headers.get('content-type')?.startsWith('application/problem+json')) return;
    const problem = (await c.res.json()) as Problem;
    const isNoFile =
      problem.code === 'FILE_MISSING' ||
      (c.req.path === '/upload' && problem.code === 'CONTENT_TYPE_UNSUPPORTED');
    const status = problem.status === 422 || isNoFile ? 400 : problem.status;
    const error = isNoFile
      ? 'No file provided'
      : status === 400
        ? 'Invalid request body'
        : 'Failed to get prediction';
    c.res = new Response(JSON.stringify({ error, ...problem, status }), { status, headers: c.res.headers });
  };
}

const readers = new WeakMap<OpenPipeline, ReturnType<typeof carReader>>();

function readerOf(pipeline: OpenPipeline): ReturnType<typeof carReader> {
  const reader = readers.get(pipeline) ?? carReader(pipeline.event.schema);
  readers.set(pipeline, reader);
  return reader;
}

/** Parses a body as AIMQ does: unknown fields are ignored, and numbers may be text. */
function carReader({ fields }: RecordSchema): (body: unknown) => unknown {
  const names = [...Object.keys(envelopeSchema.shape), ...fields.map(({ name }) => name)];
  const numbers = new Set(
    fields.flatMap(({ name, type }) => (type === 'int' || type === 'double' ? [name] : [])),
  );
  return (body) => {
    if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
    const given = body as Record<string, unknown>;
    return Object.fromEntries(
      names.flatMap((name) => {
        const value = given[name];
        if (value === undefined) return [];
        return [[name, numbers.has(name) ? numberOf(value) : value]];
      }),
    );
  };
}

function numberOf(value: unknown): unknown {
  return typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) && !isAmbiguousNumber(value)
    ? Number(value)
    : value;
}

import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Context, Hono } from 'hono';
import { describeRoute } from 'hono-openapi';
import type { z } from 'zod';
import type { PredictionRow } from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import type { ServedVersion } from '../../models/lifecycle/served-version.js';
import { version as millraceVersion } from '../../platform/version.js';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../../processors/pipelines/pipeline-set.js';
import { modelFor } from '../../processors/scoring/model-router.js';
import { makeRow } from '../../processors/scoring/features.js';
import { type EnvelopedEvent, openEnvelope } from '../../processors/events/envelope.js';
import type { Health } from '../../platform/health.js';
import { type EventAcceptor, NotWritten } from '../../processors/events/accept-events.js';
import { idempotencyKeyParameter } from '../pipelines/idempotency-key.js';
import { contextOf } from '../pipelines/routes.js';
import { takeEvents } from '../middleware/limit-requests.js';
import { parseJson, readText, tooManyEvents } from '../request-body.js';
import { eventTensors } from './event-tensors.js';
import { chosenOutputs, outputTensors, toAnswer, toTensor } from './outputs.js';
import { inferInvalid, parseInferRequest, rowCount, toRows } from './tensors.js';
import {
  inferenceSchema,
  inferRequestSchema,
  liveSchema,
  modelMetadataSchema,
  modelReadySchema,
  readySchema,
  serverSchema,
} from './schemas.js';
import {
  answer,
  bodyCodes,
  inferenceErrors,
  jsonBody,
  type Parameter,
  pathParameter,
  scoringCodes,
} from '../openapi/describe.js';

export interface InferenceRoutesOptions {
  requestTimeoutMs: number;
  /** Maximum rows of one request. */
  maxEvents: number;
}

/** Number of rows to check before yielding to other work: about 2 ms. */
const checkedAtOnce = 200;

/** Meaning of a name in a path: a pipeline, or one of its models. */
interface Inferable {
  name: string;
  pipeline: OpenPipeline;
  /** The champions that may answer. */
  champions: readonly ServedVersion[];
  versions: readonly string[];
}

/** `/v2/health`: whether the process runs, and whether it can infer. */
export function inferenceHealth(health: Health): Hono {
  const app = new Hono();
  const describe = (summary: string, schema: z.ZodType) =>
    describeRoute({
      tags,
      summary,
      responses: { 200: answer('Yes.', schema), 503: answer('No.', schema) },
    });
  app.get('/live', describe('Whether the process works.', liveSchema), async (c) => {
    const live = Object.keys(await health.stuck()).length === 0;
    return c.json({ live }, live ? 200 : 503);
  });
  app.get('/ready', describe('Whether it can infer.', readySchema), async (c) => {
    const ready = (await health.report()).status !== 'down';
    return c.json({ live: true, ready }, ready ? 200 : 503);
  });
  return app;
}

/**
 * `/v2`: the Open Inference Protocol over HTTP (KServe open-inference-protocol, `inference_rest.md`). A model
 * is named by its pipeline or by itself; its inputs are the event's fields, so a row is an event, on the log
 * like any other.
 */
export function inferenceRoutes(
  pipelines: Pipelines,
  acceptor: EventAcceptor,
  { requestTimeoutMs, maxEvents }: InferenceRoutesOptions,
): Hono {
  const app = new Hono();

  const find = (c: Context): Inferable => {
    const name = c.req.param('model') ?? '';
    const version = c.req.param('version');
    const [user] = pipelines.names.includes(name) ? [name] : pipelines.usersOf(name);
    if (user === undefined)
      throw new MillraceError(
        'MODEL_UNKNOWN',
        `There is no model '${name}'. There are: ${[...pipelines.keys()].join(', ')}.`,
      );
    const pipeline = pipelines.find(user);
    const champions = pipeline.scorer
      .championVersions()
      .filter(({ manifest }) => name === pipeline.name || manifest.name === name);
    const versions = [...new Set(champions.map(({ manifest }) => manifest.version))];
    if (version !== undefined && !versions.includes(version))
      throw new MillraceError(
        'MODEL_UNKNOWN',
        `Version '${version}' of model '${name}' does not answer here. The champion does: ${versions.join(', ')}.`,
      );
    return { name, pipeline, champions, versions };
  };

  const describe = (c: Context): Response => {
    const { name, pipeline, champions, versions } = find(c);
    const outputs = outputTensors(champions).filter(({ isHidden }) => isHidden !== true);
    return c.json({
      name,
      versions,
      platform: 'onnx_onnxv1',
      inputs: eventTensors(pipeline.event.schema).map(({ name: input, datatype, shape }) => ({
        name: input,
        datatype,
        shape,
      })),
      outputs: outputs.map(({ name: output, datatype, shape, parameters }) => ({
        name: output,
        datatype,
        shape,
        ...(parameters === undefined ? {} : { parameters }),
      })),
    });
  };

  // A pipeline is here only once its model is loaded.
  const ready = (c: Context): Response => c.json({ name: find(c).name, ready: true });

  const infer = async (c: Context): Promise<Response> => {
    const { name, pipeline, champions } = find(c);
    const request = parseInferRequest(await readJson(c, maxEvents));
    const outputs = chosenOutputs(outputTensors(champions), request.outputs);
    const count = rowCount(request);
    if (count > maxEvents) throw tooManyEvents(count, maxEvents);
    await takeEvents(c, count);
    const rows = toRows(request, pipeline.event.schema);
    const events = await openAll(rows, pipeline, champions);
    const results = await acceptor.predict(pipeline, events, contextOf(c, requestTimeoutMs));
    const predictions = results.map((result, index) => {
      if (result instanceof NotWritten) throw result;
      if (result instanceof MillraceError) throw rowError(index, result);
      return result;
    });
    const answers = predictions.map(toAnswer);
    return c.json({
      model_name: name,
      ...commonVersion(predictions),
      ...(typeof request.id === 'string' ? { id: request.id } : {}),
      outputs: outputs.map((output) => toTensor(output, answers)),
    });
  };

  app.get(
    '/',
    describeRoute({
      tags,
      summary: 'Name and version of the server.',
      responses: { 200: answer('The server.', serverSchema) },
    }),
    (c) => c.json({ name: 'millrace', version: millraceVersion, extensions: [] }),
  );
  for (const [path, parameters] of paths) {
    const about = (summary: string, ok: string, schema: z.ZodType) =>
      describeRoute({
        tags,
        summary,
        parameters,
        responses: {
          200: answer(ok, schema),
          ...inferenceErrors('MODEL_UNKNOWN', 'PIPELINE_DOWN', 'REQUEST_TIMEOUT'),
        },
      });
    app.get(path, about('Inputs and outputs of a model.', 'The model.', modelMetadataSchema), describe);
    app.get(`${path}/ready`, about('Whether a model can infer.', 'It can.', modelReadySchema), ready);
    app.post(`${path}/infer`, describeInfer(parameters), infer);
  }
  return app;
}

const tags = ['inference'];
const modelParameter = pathParameter('model', 'A pipeline, or one of its models.');
const versionParameter = pathParameter('version', 'A version that answers.');

/** Both names of a model. */
const paths: [path: string, parameters: Parameter[]][] = [
  ['/models/:model', [modelParameter]],
  ['/models/:model/versions/:version', [modelParameter, versionParameter]],
];

function describeInfer(parameters: Parameter[]) {
  return describeRoute({
    tags,
    summary: 'Score rows given as named tensors. Each row is an event, on the log when this answers.',
    parameters: [...parameters, idempotencyKeyParameter],
    requestBody: jsonBody(inferRequestSchema),
    responses: {
      200: answer('Each output has one element per row.', inferenceSchema),
      ...inferenceErrors(
        'MODEL_UNKNOWN',
        'PIPELINE_DOWN',
        'INFER_INVALID',
        'TOO_MANY_EVENTS',
        'IDEMPOTENCY_KEY_INVALID',
        ...bodyCodes,
        ...scoringCodes,
      ),
    },
  });
}

/**
 * Accepts JSON with any content type, except those that a web page may send to other sites without
 * permission.
 */
async function readJson(c: Context, maxEvents: number): Promise<unknown> {
  if (c.req.header('inference-header-content-length') !== undefined)
    throw inferInvalid(
      'Binary tensors are not read here. Send JSON: with tritonclient, binary_data=False for each input.',
    );
  const contentType = c.req.header('content-type') ?? '';
  if (/^(?:text\/plain|multipart\/|application\/x-www-form)/i.test(contentType))
    throw new MillraceError('CONTENT_TYPE_UNSUPPORTED', 'Send application/json.');
  try {
    return parseJson(await readText(c, 'json', maxEvents));
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    if (error.code === 'BODY_TOO_LARGE')
      throw inferInvalid(`There are too many inputs, or elements. ${error.message}`);
    throw error.code === 'JSON_INVALID' ? inferInvalid(error.message) : error;
  }
}

/**
 * @throws MillraceError `INFER_INVALID` for the first row that does not fit the contract: then none is on the
 *   log.
 */
async function openAll(
  rows: readonly object[],
  { scorer, pipeline }: OpenPipeline,
  champions: readonly ServedVersion[],
): Promise<EnvelopedEvent[]> {
  const events: EnvelopedEvent[] = [];
  for (const [index, row] of rows.entries()) {
    const opened = openEnvelope(row, scorer);
    if (opened instanceof MillraceError) throw rowError(index, opened);
    const model = modelFor(pipeline, opened.fields);
    if (model instanceof MillraceError) throw rowError(index, model);
    const champion = champions.find(({ manifest }) => manifest.name === model);
    if (champion === undefined)
      throw inferInvalid(
        `Row ${index}: it is for the model '${model}'. Send it there, or to '${pipeline.name}'.`,
      );
    const features = makeRow(pipeline, champion.manifest, opened.fields);
    if (features instanceof MillraceError) throw rowError(index, features);
    events.push(opened);
    if (index % checkedAtOnce === checkedAtOnce - 1) await nextTurn();
  }
  return events;
}

function rowError(index: number, error: MillraceError): MillraceError {
  return error.retriable ? error : inferInvalid(`Row ${index}: ${error.message}`);
}

/** The version that answered; with a canary, or several models, rows may have different ones. */
function commonVersion(predictions: readonly PredictionRow[]): { model_version?: string } {
  const [version, ...others] = new Set(predictions.map((row) => row.model_version));
  return version === undefined || others.length > 0 ? {} : { model_version: version };
}

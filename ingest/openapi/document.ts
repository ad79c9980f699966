import { z } from 'zod';
import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';
import { version } from '../../platform/version.js';
import { envelopeSchema } from '../../processors/events/envelope.js';
import { answer, type Json, json, problemAnswer, problemAnswers, string } from './answers.js';
import { withAccess } from './access.js';
import { inferencePaths } from './inference.js';
import { filePath, jobPaths, jobSchema, uploadPath } from './files.js';
import { modelPaths, modelSchemas } from './models.js';

const time = { type: 'string', format: 'date-time' };
const uuid = { type: 'string', format: 'uuid' };

const predictionSchema: Json = {
  type: 'object',
  required: [
    'event_id',
    'prediction_id',
    'pipeline',
    'model',
    'model_version',
    'model_digest',
    'score',
    'label',
  ],
  properties: {
    event_id: string,
    prediction_id: { ...uuid, description: 'Follows from event id and model digest.' },
    pipeline: string,
    model: string,
    model_version: string,
    model_digest: string,
    event_time: time,
    predicted_at: time,
    score: { type: 'number', description: 'In the unit that the model’s card names.' },
    label: { type: ['string', 'null'], description: 'The class, for models that classify.' },
    role: { enum: ['champion', 'canary'], description: 'Which version of the model answered.' },
    model_event: {
      type: 'integer',
      description: 'Offset on millrace.models of the alias event under which it did; -1 when none is known.',
    },
    model_event_at: {
      type: ['string', 'null'],
      format: 'date-time',
      description: 'When that event was made.',
    },
  },
};

const problemSchema: Json = {
  description: 'RFC 9457 problem details.',
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'code'],
  properties: {
    type: { type: 'string', format: 'uri' },
    title: string,
    status: { type: 'integer' },
    detail: string,
    code: string,
    errors: {
      type: 'array',
      items: { type: 'object', properties: { field: string, problem: string } },
    },
    trace_id: { ...string, description: 'Of the request, while traces are recorded.' },
  },
};

const scheduleSchema: Json = {
  type: 'object',
  properties: {
    name: string,
    pipeline: string,
    cron: { type: ['string', 'null'], description: 'Null: it does not run.' },
    time_zone: string,
    min_events: { type: 'integer' },
    max_events: { type: 'integer' },
    next_run: { type: ['string', 'null'], format: 'date-time' },
    last_run: {
      type: ['object', 'null'],
      properties: {
        run: { type: 'integer' },
        due_at: time,
        started_at: time,
        events: { type: 'integer' },
        catch_up: { type: 'boolean', description: 'Stands for times that were missed.' },
      },
    },
    runs: { type: 'integer' },
  },
};

/** The OpenAPI 3.1 description, its events from the very schemas that validate them. */
export function openApiDocument(pipelines: readonly OpenPipeline[], keysRequired: boolean): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millrace',
      version,
      description: 'Scores events with machine-learning models while they stream.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: withAccess(
      Object.assign(
        {},
        ...pipelines.map(pipelinePaths),
        ...pipelines.filter(({ name }) => name === 'car-price').map(aimqPaths),
        fixedPaths(),
        inferencePaths,
        modelPaths(),
      ) as Json,
      keysRequired,
    ),
    components: {
      schemas: {
        ...Object.fromEntries(pipelines.map((pipeline) => [eventName(pipeline), eventComponent(pipeline)])),
        Prediction: predictionSchema,
        Schedule: scheduleSchema,
        Job: jobSchema,
        Problem: problemSchema,
        ...modelSchemas,
      },
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        api_key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
      },
    },
  };
}

function eventName({ event }: OpenPipeline): string {
  return event.schema.name;
}

function eventComponent({ scorer }: OpenPipeline): Json {
  const {
    $schema: _,
    id: __,
    ...schema
  } = z.toJSONSchema(scorer.schema.extend(envelopeSchema.shape), {
    io: 'input',
  }) as Json;
  return schema;
}

function pipelinePaths(pipeline: OpenPipeline): Json {
  const event = { $ref: `#/components/schemas/${eventName(pipeline)}` };
  const events = { oneOf: [event, { type: 'array', items: event, minItems: 1 }] };
  const prediction = { $ref: '#/components/schemas/Prediction' };
  const problem = { $ref: '#/components/schemas/Problem' };
  const predictions = {
    type: 'object',
    properties: { predictions: { type: 'array', items: { oneOf: [prediction, problem] } } },
  };
  const accepted = {
    type: 'object',
    properties: {
      accepted: { type: 'integer' },
      event_ids: { type: 'array', items: string },
      rejected: {
        type: 'array',
        items: { allOf: [{ type: 'object', properties: { index: { type: 'integer' } } }, problem] },
      },
    },
  };
  const tags = [pipeline.name];
  const parameters = [
    {
      name: 'Idempotency-Key',
      in: 'header',
      schema: string,
      description:
        'Events without an id get one that follows from this key: a repeated request repeats nothing.',
    },
  ];
  const requestBody = { required: true, content: json(events) };
  return {
    [`/v1/pipelines/${pipeline.name}/predict`]: {
      post: {
        tags,
        summary: 'Score one event or an array now. Each prediction is on the log when this answers.',
        parameters,
        requestBody,
        responses: {
          200: answer('The prediction, or all of them in order.', { oneOf: [prediction, predictions] }),
          207: answer('Some events failed: each has its problem in its place.', predictions),
          ...problemAnswers,
        },
      },
    },
    [`/v1/pipelines/${pipeline.name}/files`]: filePath(pipeline, parameters),
    [`/v1/pipelines/${pipeline.name}/events`]: {
      post: {
        tags,
        summary: 'Put events on the log, to be scored by the stream.',
        parameters,
        requestBody: {
          ...requestBody,
          content: {
            ...json(events),
            'application/x-ndjson': { schema: { type: 'string', description: 'One event a line.' } },
          },
        },
        responses: {
          202: answer('The log has acknowledged all events.', accepted),
          207: answer('The log has acknowledged the valid events; the others are named by index.', accepted),
          ...problemAnswers,
        },
      },
    },
  };
}

function aimqPaths(carPrice: OpenPipeline): Json {
  const price = {
    type: 'object',
    required: ['predicted_price', 'event_id'],
    properties: {
      predicted_price: { type: 'number', description: 'In the currency of the model’s card.' },
      event_id: string,
      model: string,
      model_version: string,
    },
  };
  const problem = {
    allOf: [
      { $ref: '#/components/schemas/Problem' },
      { type: 'object', required: ['error'], properties: { error: string } },
    ],
  };
  const failed = (description: string): Json => ({
    description,
    content: { 'application/problem+json': { schema: problem } },
  });
  const predict = {
    post: {
      tags: [carPrice.name],
      summary: 'Price one car, as AIMQ does. Fields that are not a car’s are passed over.',
      requestBody: {
        required: true,
        content: json({ $ref: `#/components/schemas/${eventName(carPrice)}` }),
      },
      responses: {
        200: answer('The price. It is on the log when this answers.', price),
        400: failed('No car: broken JSON, or fields that are wrong. Every wrong field is named.'),
        503: failed('Log or model can’t be reached now. Try again.'),
      },
    },
  };
  return { '/upload': uploadPath(failed), '/predict': predict, '/predict/onnx': predict };
}

function fixedPaths(): Json {
  const get = (tag: string, summary: string, ok = 'As it is now.') => ({
    get: { tags: [tag], summary, responses: { 200: { description: ok } } },
  });
  return {
    '/v1/pipelines': get('pipelines', 'Pipelines, and the model version that each scores with.'),
    '/v1/models': get(
      'models',
      'Registered model versions: their aliases and since when, inputs, output and metrics.',
    ),
    '/v1/schedules': {
      get: {
        tags: ['schedules'],
        summary: 'When each schedule runs next, and what its last run did.',
        responses: {
          200: answer('Every schedule.', {
            type: 'object',
            properties: {
              schedules: { type: 'array', items: { $ref: '#/components/schemas/Schedule' } },
            },
          }),
          503: problemAnswer('The log can’t be reached now.'),
        },
      },
    },
    ...jobPaths(),
    '/v1/predictions/{eventId}': {
      get: {
        tags: ['predictions'],
        summary: 'The newest prediction of an event, with where the event is on the log.',
        parameters: [{ name: 'eventId', in: 'path', required: true, schema: string }],
        responses: {
          200: answer('The prediction.', { $ref: '#/components/schemas/Prediction' }),
          404: problemAnswer('No prediction for this event (yet).'),
        },
      },
    },
    '/health/live': get('operations', 'Whether the process runs.'),
    '/health': get('operations', 'As `/health/ready`, for clients of AIMQ.'),
    '/health/ready': {
      get: {
        tags: ['operations'],
        summary: 'Whether each part that this process needs works.',
        responses: {
          200: { description: 'Ready, perhaps degraded.' },
          503: { description: 'Not ready; each part says why.' },
        },
      },
    },
    '/metrics': get('operations', 'Metrics in the Prometheus text format.'),
  };
}

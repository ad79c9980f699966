import type { OpenPipeline } from '../../processors/pipelines/open-pipelines.js';

type Json = Record<string, unknown>;

const integer = { type: 'integer' };
const string = { type: 'string' };
const time = { type: 'string', format: 'date-time' };
const job = { $ref: '#/components/schemas/Job' };

/** How a file's job stands. */
export const jobSchema: Json = {
  type: 'object',
  required: ['job_id', 'pipeline', 'state', 'rows'],
  properties: {
    job_id: string,
    pipeline: string,
    state: { enum: ['accepted', 'checking', 'publishing', 'scoring', 'writing', 'done', 'failed'] },
    file_name: string,
    format: { enum: ['xlsx', 'csv', 'jsonl'] },
    bytes: integer,
    rows: {
      type: 'object',
      properties: {
        total: { type: ['integer', 'null'], description: 'Once they are counted.' },
        published: { ...integer, description: 'Events on the log.' },
        scored: integer,
        failed: { ...integer, description: 'Rows that make no event, and dead letters.' },
      },
    },
    created_at: time,
    updated_at: time,
    finished_at: { ...time, type: ['string', 'null'] },
    error: { type: ['object', 'null'], properties: { code: string, detail: string } },
    links: { type: 'object', properties: { self: string, events: string, result: string } },
  },
};

const requestBody = {
  required: true,
  content: {
    'multipart/form-data': {
      schema: {
        type: 'object',
        required: ['file'],
        properties: {
          file: {
            type: 'string',
            format: 'binary',
            description: 'xlsx, csv or jsonl; columns named as the event’s fields.',
          },
        },
      },
    },
  },
};

/** `POST /v1/pipelines/{p}/files`. */
export function filePath(pipeline: OpenPipeline, parameters: readonly Json[]): Json {
  return {
    post: {
      tags: [pipeline.name],
      summary: 'Score the rows of a file as a job.',
      parameters,
      requestBody,
      responses: {
        202: {
          ...answer('File and job are on disk and on the log.', job),
          headers: { location: { schema: string, description: 'Of the job.' } },
        },
        400: problem('A broken multipart body, or one without a file.'),
        413: problem('The file is over the limit.'),
        415: problem('The body is not multipart/form-data.'),
        422: problem('The file can’t be scored: the detail says why.'),
        503: problem('The log can’t be reached now. Try again.'),
        507: problem('The file does not fit on the disk.'),
      },
    },
  };
}

/** `POST /upload`. @param failed - a problem in AIMQ's shape. */
export function uploadPath(failed: (description: string) => Json): Json {
  const predictions = {
    type: 'array',
    items: {
      type: 'object',
      properties: {
        row: { ...integer, description: 'Counts from 1.' },
        predicted_price: { type: ['number', 'null'] },
        event_id: string,
        model: string,
        model_version: string,
        error: string,
      },
    },
  };
  return {
    post: {
      tags: ['AIMQ'],
      summary: 'Price the cars of a spreadsheet.',
      requestBody,
      responses: {
        200: answer('A price for each row.', {
          allOf: [job, { type: 'object', required: ['predictions'], properties: { predictions } }],
        }),
        202: answer('A large file: the job goes on.', job),
        400: failed('No file, or one that can’t be scored.'),
        413: failed('The file is over the limit.'),
      },
    },
  };
}

/** `/v1/jobs` and what is below it. */
export function jobPaths(): Json {
  const parameters = [{ name: 'jobId', in: 'path', required: true, schema: string }];
  const get = (summary: string, responses: Json): Json => ({
    get: { tags: ['jobs'], summary, parameters, responses: { ...responses, 404: problem('No such job.') } },
  });
  return {
    '/v1/jobs': {
      get: {
        tags: ['jobs'],
        summary: 'The newest 100 jobs.',
        responses: {
          200: answer('Newest first.', {
            type: 'object',
            properties: { jobs: { type: 'array', items: job } },
          }),
        },
      },
    },
    '/v1/jobs/{jobId}': get('How a job stands.', { 200: answer('As it is now.', job) }),
    '/v1/jobs/{jobId}/events': get('How a job stands, as server-sent events until it ends.', {
      200: {
        description: 'Events `progress`, then `done` or `failed`; the data is the job.',
        content: { 'text/event-stream': { schema: string } },
      },
    }),
    '/v1/jobs/{jobId}/result': get('The file with the predictions added.', {
      200: {
        description: 'In the format of the file that was sent.',
        content: { '*/*': { schema: { type: 'string', format: 'binary' } } },
      },
      409: problem('The job is not done, or failed.'),
      410: problem('The result was removed: it is older than FILES_RETENTION_DAYS.'),
    }),
  };
}

function answer(description: string, schema: Json): Json {
  return { description, content: { 'application/json': { schema } } };
}

function problem(description: string): Json {
  return {
    description,
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
  };
}

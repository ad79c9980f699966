import { answer, type Json, json, string } from './answers.js';

const tensor = (...more: string[]): Json => ({
  type: 'object',
  required: ['name', 'datatype', 'shape', ...more],
  properties: {
    name: string,
    datatype: { type: 'string', examples: ['FP64', 'INT32', 'BYTES', 'BOOL'] },
    shape: { type: 'array', items: { type: 'integer' }, description: '[N] or [N, 1]; -1 for any N.' },
    ...(more.includes('data') ? { data: { type: 'array', items: {} } } : {}),
  },
});

const metadata = {
  type: 'object',
  properties: {
    name: string,
    versions: { type: 'array', items: string },
    platform: string,
    inputs: { type: 'array', items: tensor() },
    outputs: { type: 'array', items: tensor() },
  },
};

const request = {
  type: 'object',
  required: ['inputs'],
  properties: {
    id: { type: 'string', description: 'Comes back in the answer.' },
    inputs: { type: 'array', minItems: 1, items: tensor('data') },
    outputs: {
      type: 'array',
      description:
        'Default: score, and label where the model classifies. There are event_id and prediction_id too.',
      items: { type: 'object', required: ['name'], properties: { name: string } },
    },
  },
};

const inference = {
  type: 'object',
  properties: {
    id: string,
    model_name: string,
    model_version: string,
    outputs: { type: 'array', items: tensor('data') },
  },
};

const failure = (description: string): Json =>
  answer(description, { type: 'object', required: ['error'], properties: { error: string, code: string } });

const name = { name: 'model', in: 'path', required: true, schema: string };
const version = { name: 'version', in: 'path', required: true, schema: string };
const unknown = failure('No such model, or the version is not loaded.');

function get(summary: string, ok: Json, parameters: Json[] = []): Json {
  return { get: { tags: ['inference'], summary, parameters, responses: { 200: ok, 404: unknown } } };
}

function modelPaths(path: string, parameters: Json[]): Json {
  const ready = answer('It is.', {
    type: 'object',
    properties: { name: string, ready: { type: 'boolean' } },
  });
  return {
    [path]: get('Inputs and outputs of a model.', answer('As they are.', metadata), parameters),
    [`${path}/ready`]: get('Whether a model can infer.', ready, parameters),
    [`${path}/infer`]: {
      post: {
        tags: ['inference'],
        summary: 'Score rows given as named tensors. Each row is an event, on the log when this answers.',
        parameters,
        requestBody: { required: true, content: json(request) },
        responses: {
          200: answer('One element a row in each output.', inference),
          400: failure('A tensor or a row is wrong: none of the rows is on the log.'),
          404: unknown,
          429: failure('More than this client may ask for.'),
        },
      },
    },
  };
}

/** `/v2`: the Open Inference Protocol. */
export const inferencePaths: Json = {
  '/v2': get('The server and its version.', { description: 'As it is.' }),
  '/v2/health/live': get('Whether the process runs.', { description: 'It does.' }),
  '/v2/health/ready': get('Whether it can infer; 503 when not.', { description: 'It can.' }),
  ...modelPaths('/v2/models/{model}', [name]),
  ...modelPaths('/v2/models/{model}/versions/{version}', [name, version]),
};

type Json = Record<string, unknown>;

const string = { type: 'string' };
const time = { type: 'string', format: 'date-time' };
const event = { type: 'integer', description: 'Offset of the alias event on millrace.models.' };
const share = { type: 'number', minimum: 0, maximum: 1 };
const files = ['model.onnx', 'model.json', 'golden.json'];

/** Components of the OpenAPI description that the paths of {@link modelPaths} name. */
export const modelSchemas: Json = {
  ModelVersion: {
    type: 'object',
    properties: {
      model: string,
      version: string,
      digest: { ...string, description: 'SHA-256 of model.onnx.' },
      source: { ...string, description: 'What registered it.' },
      registered_at: time,
    },
  },
  ModelAliases: {
    type: 'object',
    properties: {
      model: string,
      champion: { oneOf: [{ $ref: '#/components/schemas/ModelAlias' }, { type: 'null' }] },
      challenger: {
        oneOf: [
          {
            allOf: [
              { $ref: '#/components/schemas/ModelAlias' },
              { type: 'object', properties: { shadow: { type: 'boolean' }, canary_share: share } },
            ],
          },
          { type: 'null' },
        ],
      },
    },
  },
  ModelAlias: {
    type: 'object',
    properties: {
      version: string,
      digest: string,
      previous_version: { type: ['string', 'null'], description: 'What the alias named before.' },
      model_event: event,
      model_event_at: time,
    },
  },
};

/** The routes below `/v1/models/{name}`. */
export function modelPaths(): Json {
  const aliases = content('ModelAliases');
  const name = parameter('name', 'The model.');
  const decision = (summary: string, requestBody?: Json): Json => ({
    tags: ['models'],
    summary: `${summary} It is on the log when this answers; processes follow within a second or so.`,
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: {
      200: { description: 'As it is now, and since which event.', ...aliases },
      ...problems({
        400: 'No usable request.',
        404: 'No such model or version.',
        409: 'It can’t be, as it stands.',
      }),
    },
  });
  return {
    '/v1/models/{name}': {
      parameters: [name],
      get: {
        tags: ['models'],
        summary: 'A model: its versions, its aliases, and with what this process scores.',
        responses: {
          200: { description: 'As it is now.', ...aliases },
          ...problems({ 404: 'No such model.' }),
        },
      },
    },
    '/v1/models/{name}/versions': {
      parameters: [name],
      post: {
        tags: ['models'],
        summary: 'Check a version and register it. It serves nothing yet.',
        requestBody: upload(),
        responses: {
          201: { description: 'It is registered.', ...content('ModelVersion') },
          200: { description: 'The same was registered before.', ...content('ModelVersion') },
          ...problems({
            400: 'No upload of three files.',
            404: 'No such model.',
            409: 'The version is registered with other content, or its graph as another version.',
            413: 'A file is over MAX_MODEL_BYTES.',
            422: 'The version is refused: digest, golden rows, inputs, output, or sample events of the pipeline.',
          }),
        },
      },
    },
    '/v1/models/{name}/versions/{version}': {
      parameters: [name, parameter('version', 'A registered version.')],
      get: {
        tags: ['models'],
        summary: 'A version with its model.json (`manifest`) and its golden rows (`golden`).',
        responses: {
          200: { description: 'The version.', ...content('ModelVersion') },
          ...problems({ 404: 'No such version.' }),
        },
      },
    },
    '/v1/models/{name}/aliases/champion': {
      parameters: [name],
      put: decision('Make a version the champion: it answers.', body(['version'], { version: string })),
    },
    '/v1/models/{name}/aliases/challenger': {
      parameters: [name],
      put: decision(
        'Make a version the challenger, or change what it does.',
        body(['version'], {
          version: string,
          shadow: { type: 'boolean', default: false },
          canary_share: { ...share, default: 0 },
        }),
      ),
      delete: decision('Take the challenger away.'),
    },
    '/v1/models/{name}/rollback': {
      parameters: [name],
      post: decision('Make the version champion again that was it before.'),
    },
  };
}

function upload(): Json {
  const file = { type: 'string', contentMediaType: 'application/octet-stream' };
  const schema = {
    type: 'object',
    required: files,
    properties: { ...Object.fromEntries(files.map((each) => [each, file])), source: string },
  };
  return { required: true, content: { 'multipart/form-data': { schema } } };
}

function body(required: string[], properties: Json): Json {
  const schema = { type: 'object', required, additionalProperties: false, properties };
  return { required: true, content: { 'application/json': { schema } } };
}

function parameter(name: string, description: string): Json {
  return { name, in: 'path', required: true, schema: string, description };
}

function content(component: string): Json {
  return { content: { 'application/json': { schema: { $ref: `#/components/schemas/${component}` } } } };
}

function problems(descriptions: Record<number, string>): Json {
  const problem = { $ref: '#/components/schemas/Problem' };
  return Object.fromEntries(
    Object.entries(descriptions).map(([status, description]) => [
      status,
      { description, content: { 'application/problem+json': { schema: problem } } },
    ]),
  );
}

import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { type Document, OpenApiValidator } from '../testing/openapi-validator.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';
import { csvUpload, exampleEvent, versionUpload } from '../testing/examples.js';
import { finishJob } from '../testing/finish-job.js';

const examples = Object.fromEntries(
  ['car-price', 'credit-default', 'taxi-trip-duration'].map((name) => [name, exampleEvent(name)]),
);

/** The requests of one operation: each answer is checked against the document. */
type Requests = () => Promise<Response[]>;

let api: TestApp;
let validator: OpenApiValidator;
let eventId: string;
let doneJob: string;

beforeAll(async () => {
  api = await startTestApp();
  validator = new OpenApiValidator((await (await api.get('/openapi.json')).json()) as Document);
  const prediction = await api.post('/v1/pipelines/credit-default/predict', examples['credit-default']);
  eventId = ((await prediction.json()) as { event_id: string }).event_id;
  const job = await api.post(
    '/v1/pipelines/credit-default/files',
    csvUpload(examples['credit-default'] ?? {}),
  );
  doneJob = ((await job.json()) as { job_id: string }).job_id;
  await finishJob(api, doneJob);
});

afterAll(() => api.stop());

const inputs = Object.entries(examples['credit-default'] ?? {}).map(([name, value]) => ({
  name,
  datatype: 'FP64',
  shape: [1],
  data: [value],
}));

async function whileLogIsDown(request: () => Promise<Response>): Promise<Response> {
  api.log.failure = new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
  try {
    return await request();
  } finally {
    api.log.failure = undefined;
  }
}

function ofPipeline(name: string): Record<string, Requests> {
  const event = examples[name] ?? {};
  const invalid = { no_such_field: 1 };
  const path = `/v1/pipelines/${name}`;
  const both =
    (url: string): Requests =>
    async () => [
      await api.post(url, event),
      await api.post(url, [event, event]),
      await api.post(url, [event, invalid]),
      await api.post(url, [invalid]),
      await api.post(url, invalid),
      await api.post(url, '{'),
      await api.post(url, event, { 'content-type': 'text/csv' }),
      await api.post(url, event, { 'idempotency-key': 'x'.repeat(257) }),
      await whileLogIsDown(() => api.post(url, event)),
      await whileLogIsDown(() => api.post(url, [event, event])),
      await api.with({ maxBodyBytes: 10 }).post(url, event),
      await api.with({ maxEvents: 1 }).post(url, [event, event]),
    ];
  return {
    [`POST ${path}/predict`]: both(`${path}/predict`),
    [`POST ${path}/events`]: both(`${path}/events`),
    [`POST ${path}/files`]: async () => [
      await api.post(`${path}/files`, csvUpload(event)),
      await api.post(`${path}/files`, event),
      await api.post(`${path}/files`, new FormData()),
    ],
  };
}

function ofInference(path: string): Record<string, Requests> {
  const url = path.replace('{model}', 'credit-default').replace('{version}', '1');
  const unknown = path.replace('{model}', 'nothing').replace('{version}', '1');
  return {
    [`GET ${path}`]: async () => [await api.get(url), await api.get(unknown)],
    [`GET ${path}/ready`]: async () => [await api.get(`${url}/ready`), await api.get(`${unknown}/ready`)],
    [`POST ${path}/infer`]: async () => [
      await api.post(`${url}/infer`, { id: 'a', inputs }),
      await api.post(`${url}/infer`, { inputs, outputs: [{ name: 'event_id' }] }),
      await api.post(`${url}/infer`, { inputs: [] }),
      await api.post(`${unknown}/infer`, { inputs }),
      await whileLogIsDown(() => api.post(`${url}/infer`, { inputs })),
    ],
  };
}

const model = '/v1/models/credit-default';

const requests: Record<string, Requests> = {
  ...ofPipeline('car-price'),
  ...ofPipeline('credit-default'),
  ...ofPipeline('taxi-trip-duration'),
  ...ofInference('/v2/models/{model}'),
  ...ofInference('/v2/models/{model}/versions/{version}'),
  'GET /health': async () => [await api.get('/health')],
  'GET /health/live': async () => [await api.get('/health/live')],
  'GET /health/ready': async () => [await api.get('/health/ready')],
  'GET /metrics': async () => [await api.get('/metrics')],
  'GET /v1/pipelines': async () => [await api.get('/v1/pipelines')],
  'GET /v1/schedules': async () => [
    await api.get('/v1/schedules'),
    await whileLogIsDown(() => api.get('/v1/schedules')),
  ],
  'GET /v1/predictions/{eventId}': async () => [
    await api.get(`/v1/predictions/${eventId}`),
    await api.get('/v1/predictions/unknown'),
  ],
  'GET /v1/jobs': async () => [await api.get('/v1/jobs')],
  'GET /v1/jobs/{jobId}': async () => [
    await api.get(`/v1/jobs/${doneJob}`),
    await api.get(`/v1/jobs/${randomUUID()}`),
    await whileLogIsDown(() => api.get(`/v1/jobs/${randomUUID()}`)),
  ],
  'GET /v1/jobs/{jobId}/events': async () => [await api.get(`/v1/jobs/${doneJob}/events`)],
  'GET /v1/jobs/{jobId}/result': async () => {
    const pending = await api.post(
      '/v1/pipelines/credit-default/files',
      csvUpload(examples['credit-default'] ?? {}),
    );
    const { job_id: job } = (await pending.json()) as { job_id: string };
    await writeFile(api.jobs.files.result(doneJob), 'a result');
    return [await api.get(`/v1/jobs/${doneJob}/result`), await api.get(`/v1/jobs/${job}/result`)];
  },
  'GET /v1/models': async () => [await api.get('/v1/models')],
  'GET /v1/models/{name}': async () => [await api.get(model), await api.get('/v1/models/nothing')],
  'GET /v1/models/{name}/versions/{version}': async () => [
    await api.get(`${model}/versions/1`),
    await api.get(`${model}/versions/9`),
  ],
  'POST /v1/models/{name}/versions': async () => [
    await api.post(`${model}/versions`, versionUpload('credit-default', { version: '1' })),
    await api.post(`${model}/versions`, versionUpload('credit-default', { version: '2' })),
    await api.post(`${model}/versions`, {}),
    await api.post('/v1/models/nothing/versions', versionUpload('credit-default', { version: '2' })),
  ],
  'PUT /v1/models/{name}/aliases/champion': async () => [
    await api.send('PUT', `${model}/aliases/champion`, { version: '1' }),
    await api.send('PUT', `${model}/aliases/champion`, { version: '9' }),
    await api.send('PUT', `${model}/aliases/champion`, { nothing: true }),
    await whileLogIsDown(() => api.send('PUT', `${model}/aliases/champion`, { version: '1' })),
  ],
  'PUT /v1/models/{name}/aliases/challenger': async () => [
    await api.send('PUT', `${model}/aliases/challenger`, { version: '9' }),
    await api.send('PUT', `${model}/aliases/challenger`, { version: '1', shadow: true, canary_share: 2 }),
  ],
  'DELETE /v1/models/{name}/aliases/challenger': async () => [
    await api.send('DELETE', `${model}/aliases/challenger`),
  ],
  'DELETE /v1/models/{name}/versions/{version}': async () => [
    await api.send('DELETE', `${model}/versions/9`),
    await api.send('DELETE', `${model}/versions/1`),
  ],
  'POST /v1/models/{name}/rollback': async () => [await api.post(`${model}/rollback`)],
  'GET /v2': async () => [await api.get('/v2')],
  'GET /v2/health/live': async () => [await api.get('/v2/health/live')],
  'GET /v2/health/ready': async () => [await api.get('/v2/health/ready')],
  'POST /predict': async () => [
    await api.post('/predict', examples['car-price']),
    await api.post('/predict', {}),
    await whileLogIsDown(() => api.post('/predict', examples['car-price'])),
  ],
  'POST /predict/onnx': async () => [await api.post('/predict/onnx', examples['car-price'])],
  'POST /upload': async () => [
    await api.with({ requestTimeoutMs: 1 }).post('/upload', csvUpload(examples['car-price'] ?? {})),
    await api.post('/upload', new FormData()),
    await api.post('/upload', csvUpload(examples['credit-default'] ?? {})),
  ],
};

test('the document has every operation that is requested here, and no other', () => {
  expect(validator.operations).toEqual(Object.keys(requests).toSorted());
});

test.each(Object.entries(requests))('%s answers as documented', async (operation, send) => {
  const responses = await send();
  expect(responses[0]?.status, await responses[0]?.clone().text()).toBeLessThan(500);
  for (const response of responses) expect(await validator.check(operation, response)).toEqual([]);
});

test('finds an undocumented answer', async () => {
  const answer = (body: object, status = 200): Response =>
    Response.json(body, { status, headers: { 'content-type': 'application/json' } });
  const live = 'GET /health/live';
  expect(await validator.check(live, answer({ status: 'up' }))).toEqual([]);
  expect(await validator.check(live, answer({ status: 'up' }, 418))).toHaveLength(1);
  expect(await validator.check(live, answer({ status: 'up', more: 1 }))).toHaveLength(1);
  expect(await validator.check(live, answer({ status: 'else' }))).toHaveLength(1);
  expect(await validator.check(live, new Response('up'))).toHaveLength(1);
});

import { afterAll, beforeAll, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { csvUpload, exampleEvent } from '../testing/examples.js';
import { finishJob } from '../testing/finish-job.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';

const car = exampleEvent('car-price');

let api: TestApp;
beforeAll(async () => {
  api = await startTestApp();
});
afterAll(() => api.stop());

it.each(['/predict', '/predict/onnx'])('%s prices a car, whatever else its body has', async (path) => {
  const response = await api.post(path, { ...car, id: 7 }, { 'content-type': 'text/plain' });
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({
    predicted_price: expect.any(Number) as number,
    event_id: expect.any(String) as string,
    model: expect.stringMatching(/^car-price-/) as string,
    model_version: '1',
  });
});

it.each([
  ['no car', {}, 'EVENT_INVALID'],
  ['broken JSON', '{', 'JSON_INVALID'],
])('answers 400 with an error for %s', async (_name, body, code) => {
  const response = await api.post('/predict', body);
  expect([response.status, await response.json()]).toMatchObject([
    400,
    { error: 'Invalid request body', status: 400, code },
  ]);
});

it('answers 503 with an error while the log is unavailable', async () => {
  api.log.failure = new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
  const response = await api.post('/predict', car);
  api.log.failure = undefined;
  expect([response.status, await response.json()]).toMatchObject([
    503,
    { error: 'Failed to get prediction', code: 'LOG_TIMEOUT' },
  ]);
});

it('does not support pickles', async () => {
  expect((await api.post('/predict/pickle', car)).status).toBe(404);
});

it('answers an upload with the job when its time is up', async () => {
  const response = await api.with({ requestTimeoutMs: 1 }).post('/upload', csvUpload(car));
  expect([response.status, await response.json()]).toMatchObject([
    202,
    { message: 'File uploaded and message sent', pipeline: 'car-price' },
  ]);
});

it('answers an upload whose job failed with the reason', async () => {
  const send = () => api.post('/upload', csvUpload(car), { 'idempotency-key': 'failing' });
  const accepted = send();
  await expect.poll(() => api.jobs.log.unfinished().length).toBeGreaterThan(1);
  for (const job of api.jobs.log.unfinished()) await finishJob(api, job.job_id, 'failed');
  const response = await accepted;
  expect([response.status, await response.json()]).toMatchObject([400, { code: 'FILE_INVALID' }]);
});

it('answers an upload without a file with 400', async () => {
  for (const body of [new FormData(), {}]) {
    const response = await api.post('/upload', body);
    expect([response.status, await response.json()]).toMatchObject([400, { error: 'No file provided' }]);
  }
});

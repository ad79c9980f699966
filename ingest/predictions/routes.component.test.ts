import { afterAll, beforeAll, expect, it } from 'vitest';
import { ApiKeys } from '../api-keys/api-keys.js';
import { exampleEvent } from '../testing/examples.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';

const client = exampleEvent('credit-default');

let api: TestApp;
beforeAll(async () => {
  api = await startTestApp();
  await api.post('/v1/pipelines/credit-default/predict', { ...client, event_id: 'known' });
});
afterAll(() => api.stop());

it('answers with the prediction, its event and the event’s position on the log', async () => {
  const response = await api.get('/v1/predictions/known');
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({
    event_id: 'known',
    label: 'no_default',
    outputs: { probability_of_default: expect.any(Number) as number },
    features: client,
    source: 'millrace/http',
    topic: 'credit-default.events',
    partition: 0,
    offset: 0,
    schema_id: expect.any(Number) as number,
    latency_ms: expect.any(Number) as number,
  });
});

it('answers with the newest of the stored predictions', async () => {
  const [row] = await api.options.cache.recallAnywhere(['credit-default'], 'known');
  if (row === undefined) throw new Error('there is no prediction');
  const at = (predicted_at: string) => ({ ...row, event_id: 'stored', predicted_at });
  api.stored.push(at('2026-01-01T00:00:00.000Z'), at('2026-01-02T00:00:00.000Z'));
  const newest = await (await api.get('/v1/predictions/stored')).json();
  expect(newest).toMatchObject({ predicted_at: '2026-01-02T00:00:00.000Z' });
});

it('answers without outputs for a prediction of an earlier release, or of a producer that wrote no JSON', async () => {
  const [row] = await api.options.cache.recallAnywhere(['credit-default'], 'known');
  if (row === undefined) throw new Error('there is no prediction');
  for (const [index, outputs] of ['{}', 'no JSON', '[1]'].entries()) {
    api.stored.push({ ...row, event_id: `bare-${index}`, outputs });
    const answer = await (await api.get(`/v1/predictions/bare-${index}`)).json();
    expect(answer).toMatchObject({ event_id: `bare-${index}`, outputs: {} });
  }
});

it('returns non-JSON features of another producer as text', async () => {
  const [row] = await api.options.cache.recallAnywhere(['credit-default'], 'known');
  if (row === undefined) throw new Error('there is no prediction');
  api.stored.push({ ...row, event_id: 'text', features: 'no JSON' });
  expect(await (await api.get('/v1/predictions/text')).json()).toMatchObject({ features: 'no JSON' });
});

it('answers 404 for an unknown event, and names the reason of a dead letter', async () => {
  const unknown = await api.get('/v1/predictions/unknown');
  expect([unknown.status, await unknown.json()]).toMatchObject([404, { code: 'PREDICTION_UNKNOWN' }]);
  const reason = { pipeline: 'credit-default', reason: 'EVENT_INVALID', detail: 'AGE is wrong' };
  api.deadLetters.push({ event_id: 'dead', ...reason });
  const dead = await api.get('/v1/predictions/dead');
  expect([dead.status, await dead.json()]).toMatchObject([
    404,
    { detail: expect.stringContaining('EVENT_INVALID: AGE is wrong') as string },
  ]);
});

it('requires a key where keys are required', async () => {
  const apiKeys = new ApiKeys({ keys: ['a key'], pipelines: () => [], logger: api.options.logger });
  const guarded = api.with({ apiKeys });
  expect((await guarded.get('/v1/predictions/known')).status).toBe(401);
  expect((await guarded.get('/v1/predictions/known', { 'x-api-key': 'a key' })).status).toBe(200);
  apiKeys.stop();
});

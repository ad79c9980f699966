import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiKeys, makeApiKey } from './api-keys/api-keys.js';
import { exampleEvent } from './testing/examples.js';
import { startTestApp, type TestApp } from './testing/test-app.js';
import { RateLimits } from './middleware/rate-limits.js';
import { silentLogger } from '../platform/logger.js';

const client = exampleEvent('credit-default');
const predictPath = '/v1/pipelines/credit-default/predict';

let api: TestApp;
beforeAll(async () => {
  api = await startTestApp();
});
afterAll(() => api.stop());

async function codeOf(response: Response): Promise<unknown> {
  return ((await response.json()) as { code: string }).code;
}

it('answers an unknown route with a problem', async () => {
  const response = await api.post('/v1/nowhere', {});
  expect([response.status, await codeOf(response)]).toEqual([404, 'NOT_FOUND']);
});

it('reveals nothing of an unexpected error', async () => {
  const broken = api.with({ findStored: () => Promise.reject(new Error('a secret')) });
  const response = await broken.get('/v1/predictions/some-id');
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({ code: 'INTERNAL' });
});

it('has a page of its OpenAPI document', async () => {
  expect(await (await api.get('/docs')).text()).toContain('swagger-ui');
  expect((await api.get('/docs/swagger-ui-bundle.js')).status).toBe(200);
  expect((await api.get('/')).headers.get('location')).toBe('/docs');
});

it('counts requests by route, not by path', async () => {
  await api.get('/v1/predictions/some-id');
  const metrics = await (await api.get('/metrics')).text();
  expect(metrics).toContain('route="/v1/predictions/:eventId"');
  expect(metrics).not.toContain('some-id');
});

it('is not live while a part is stuck, and not ready while a part is down', async () => {
  api.health.add('part', () => ({ status: 'down', detail: 'broken' }));
  expect((await api.get('/health/live')).status).toBe(200);
  const ready = await api.get('/health/ready');
  expect([ready.status, await ready.json()]).toMatchObject([503, { parts: { part: { detail: 'broken' } } }]);
  api.health.addStuck('part', () => 'stuck');
  expect((await api.get('/health/live')).status).toBe(503);
  expect((await api.get('/v2/health/live')).status).toBe(503);
});

describe('with API keys', () => {
  const unlimited = makeApiKey({ name: 'unlimited' });
  let guarded: TestApp;
  let keys: ApiKeys;
  beforeAll(() => {
    keys = new ApiKeys({
      keys: [unlimited.key],
      pipelines: () => api.options.pipelines.names,
      logger: silentLogger,
    });
    guarded = api.with({ apiKeys: keys });
  });
  afterAll(() => keys.stop());

  it('refuses a request without a key', async () => {
    const response = await guarded.post(predictPath, client);
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    expect(await codeOf(response)).toBe('API_KEY_REQUIRED');
  });

  it('answers a request with a key', async () => {
    const response = await guarded.post(predictPath, client, { 'x-api-key': unlimited.key });
    expect(response.status).toBe(200);
  });

  it.each(['/health/live', '/metrics', '/docs', '/openapi.json'])('needs none for %s', async (path) => {
    expect((await guarded.get(path)).status).not.toBe(401);
  });
});

it('refuses a request over the limit with 429, but no probe', async () => {
  const limits = new RateLimits({ perSecond: 1, metrics: api.metrics });
  const limited = api.with({ limits });
  expect((await limited.post(predictPath, client)).status).toBe(200);
  const refused = await limited.post(predictPath, client);
  expect([refused.status, await codeOf(refused)]).toEqual([429, 'RATE_LIMITED']);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await limited.get('/metrics')).status).toBe(200);
  limits.stop();
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { type ServedApp, serveTestApp } from '../testing/served-app.js';

const client = JSON.parse(
  readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
) as object;

let system: ServedApp;

beforeAll(async () => {
  system = await serveTestApp({ RATE_LIMIT_PER_SECOND: '20', API_KEYS: 'one,two' });
});

afterAll(async () => {
  await system.stop();
});

it('limits each key on every route, and probes never', async () => {
  const events = Array.from({ length: 1_000 }, () => client);
  const accepted = await system.post('/v1/pipelines/credit-default/events', events, { 'x-api-key': 'one' });
  expect(accepted.status).toBe(202);
  expect(accepted.headers.get('ratelimit')).toMatch(/^"default";r=0;t=[45]\d$/);
  const { http } = system;
  for (const path of ['/v1/pipelines', '/docs', '/openapi.json', '/v2', '/v1/predictions/x', '/nothing']) {
    const { status } = await fetch(http + path, { headers: { authorization: 'Bearer one' } });
    expect(status, path).toBe(429);
  }
  for (const path of ['/health/live', '/health/ready', '/metrics', '/v2/health/live', '/v2/health/ready']) {
    for (let probes = 0; probes < 10; probes++) {
      const response = await fetch(http + path, { headers: { authorization: 'Bearer one' } });
      expect(response.status, path).toBe(200);
      expect(response.headers.get('ratelimit'), path).toBeNull();
    }
  }
  const other = await system.post('/v1/pipelines/credit-default/predict', client, { 'x-api-key': 'two' });
  expect(other.status).toBe(200);
  const metrics = await (await system.get('/metrics')).text();
  expect(metrics).toContain('millrace_rate_limited_requests_total{by="key"} 6');
  expect(metrics).toContain('millrace_rate_limit_per_second 20');
});

it('limits guesses of keys to the limit of an address', async () => {
  const guesses = await Promise.all(
    Array.from({ length: 200 }, (_, guess) =>
      fetch(`${system.http}/v1/pipelines`, { headers: { 'x-api-key': String(guess) } }),
    ),
  );
  const statuses = guesses.map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([401, 429]));
});

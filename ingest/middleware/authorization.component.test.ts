import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeApiKey } from '../api-keys/api-keys.js';
import { accesses } from './authorization.js';
import { createLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { type ServedApp, serveTestApp } from '../testing/served-app.js';

const keys = {
  all: makeApiKey({ name: 'all', scopes: ['score', 'read', 'models', 'jobs'] }),
  credit: makeApiKey({ name: 'credit', pipelines: ['credit-default'] }),
  cars: makeApiKey({ name: 'cars', pipelines: ['car-price'] }),
  reader: makeApiKey({ name: 'reader', scopes: ['read'] }),
  models: makeApiKey({ name: 'models', scopes: ['models'] }),
  jobs: makeApiKey({ name: 'jobs', scopes: ['jobs'] }),
  slow: makeApiKey({ name: 'slow', rate_limit_per_second: 1 }),
  old: makeApiKey({ name: 'old', expires: '2020-01-01T00:00:00Z' }),
};
type Name = keyof typeof keys;

const folder = mkdtempSync(join(tmpdir(), 'millrace-api-keys-'));
const logFile = join(folder, 'millrace.log');
let system: ServedApp;
let client: object;

beforeAll(async () => {
  const file = join(folder, 'keys.json');
  writeFileSync(file, JSON.stringify({ keys: Object.values(keys).map(({ entry }) => entry) }));
  client = JSON.parse(await readFile(join(packageRoot, 'examples', 'credit-default.json'), 'utf8')) as object;
  system = await serveTestApp(
    { API_KEYS_FILE: file, RATE_LIMIT_PER_SECOND: '10000' },
    createLogger('info', logFile),
  );
});

afterAll(async () => {
  await system.stop();
  rmSync(folder, { recursive: true });
});

/** Public paths. */
const open = ['/health/live', '/health', '/health/ready', '/metrics', '/v2/health/live', '/v2/health/ready'];
const methods = ['get', 'post', 'put', 'delete', 'patch'];

interface OpenApi {
  paths: Record<string, Record<string, unknown>>;
}

/** Every operation in the OpenAPI document. */
async function operations(): Promise<{ method: string; path: string }[]> {
  const { paths } = (await (await system.get('/openapi.json')).json()) as OpenApi;
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).flatMap((method) =>
      methods.includes(method) ? [{ method: method.toUpperCase(), path }] : [],
    ),
  );
}

function send(path: string, key?: Name, init: RequestInit = {}): Promise<Response> {
  const headers = {
    ...(init.headers as object),
    ...(key === undefined ? {} : { 'x-api-key': keys[key].key }),
  };
  return fetch(system.http + path, { ...init, headers });
}

const json = (body: unknown): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** Returns a path with its parameters filled in, by values that do not affect the access. */
const filled = (path: string): string => path.replaceAll(/\{\w+\}/g, 'credit-default');

describe('every route that the API describes', () => {
  it('is public, or requires a key', async () => {
    const described = await operations();
    expect(described.length).toBeGreaterThan(25);
    for (const { method, path } of described) {
      const { status } = await send(filled(path), undefined, { method });
      expect(status === 401, `${method} ${path}: ${status}`).toBe(!open.includes(path));
    }
  });

  it('refuses keys that lack the scope, are for other pipelines, or have expired', async () => {
    for (const { method, path } of (await operations()).filter((each) => !open.includes(each.path))) {
      const access = accesses.find((each) => each.method === method && matches(each.path, path));
      expect(access, `${method} ${path} has no entry in accesses`).toBeDefined();
      for (const scope of ['reader', 'models', 'jobs'] as const) {
        const needed = scope === 'reader' ? 'read' : scope;
        if (access?.scopes.includes(needed)) continue;
        const response = await send(filled(path), scope, { method });
        expect(response.status, `${method} ${path} as ${scope}`).toBe(403);
      }
      const expired = await send(filled(path), 'old', { method });
      expect(expired.status, `${method} ${path}`).toBe(401);
      const ofPipeline = filled(path).includes('/credit-default') && !/jobs|predictions/.test(path);
      if (ofPipeline)
        expect((await send(filled(path), 'cars', { method })).status, `${method} ${path}`).toBe(403);
    }
  });
});

function matches(pattern: string, path: string): boolean {
  const [expected, actual] = [pattern.split('/'), path.split('/')];
  return (
    expected.length === actual.length &&
    expected.every((part, index) => part === actual[index] || part.startsWith(':'))
  );
}

it('is described: its permission and its answer without it', async () => {
  const { paths } = (await (await system.get('/openapi.json')).json()) as OpenApi;
  for (const { method, path } of (await operations()).filter((each) => !open.includes(each.path))) {
    const operation = paths[path]?.[method.toLowerCase()];
    expect(operation, `${method} ${path}`).toMatchObject({
      security: [{ bearer: [] }, { api_key: [] }],
      responses: { 401: expect.anything(), 403: expect.anything() },
      description: expect.stringContaining('the scope'),
    });
  }
});

it('explains by problem details what is missing', async () => {
  const refused = await send('/v1/pipelines/credit-default/predict', 'cars', json(client));
  expect(refused.headers.get('content-type')).toBe('application/problem+json');
  expect(await refused.json()).toMatchObject({
    status: 403,
    code: 'FORBIDDEN',
    detail: "The API key 'cars' is for car-price only.",
  });
  const expired = await send('/v1/pipelines', 'old');
  expect(expired.headers.get('www-authenticate')).toBe('Bearer');
  expect(await expired.json()).toMatchObject({
    detail: expect.stringContaining("'old' expired at 2020-01-01"),
  });
  expect((await send('/v1/nothing', 'all')).status).toBe(404);
});

it('shows a key no more than its own pipelines', async () => {
  const seen = async (path: string, key: Name) => JSON.stringify(await (await send(path, key)).json());
  for (const path of ['/v1/pipelines', '/v1/models', '/v1/schedules']) {
    const all = await seen(path, path === '/v1/schedules' ? 'reader' : 'all');
    expect(all).toContain('taxi-trip-duration');
    expect(await seen(path, 'credit'), path).not.toMatch(/taxi|car-price/);
  }
  for (const path of ['/predict', '/upload']) expect((await send(path, 'credit', json({}))).status).toBe(403);
});

it('keeps predictions to the keys of their pipeline', async () => {
  const answer = await send('/v1/pipelines/credit-default/predict', 'credit', json(client));
  const { event_id: id } = (await answer.json()) as { event_id: string };
  expect((await send(`/v1/predictions/${id}`, 'reader')).status).toBe(200);
  expect((await send(`/v1/predictions/${id}`, 'credit')).status).toBe(200);
  expect((await send(`/v1/predictions/${id}`, 'cars')).status).toBe(404);
});

it('keeps jobs to the client that made them, and to keys for all jobs', async () => {
  const form = new FormData();
  form.set('file', new Blob([`${JSON.stringify(client)}\n`]), 'clients.jsonl');
  const accepted = await send('/v1/pipelines/credit-default/files', 'credit', { method: 'POST', body: form });
  expect(accepted.status).toBe(202);
  const { job_id: id } = (await accepted.json()) as { job_id: string };
  const statuses = async (key: Name) =>
    (await Promise.all(['', '/result'].map((end) => send(`/v1/jobs/${id}${end}`, key)))).map(
      ({ status }) => status,
    );
  expect((await statuses('credit'))[0]).toBe(200);
  expect((await statuses('jobs'))[0]).toBe(200);
  expect(await statuses('cars')).toEqual([404, 404]);
  expect(await statuses('slow').then(([first]) => first)).toSatisfy(
    (status) => status === 404 || status === 429,
  );
  const listed = async (key: Name) => JSON.stringify(await (await send('/v1/jobs', key)).json());
  expect(await listed('credit')).toContain(id);
  expect(await listed('jobs')).toContain(id);
  expect(await listed('cars')).not.toContain(id);
});

it('holds each key to its own limit', async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => send('/v1/pipelines', 'slow')));
  expect(answers.map(({ status }) => status)).toContain(429);
  expect(answers[0]?.headers.get('ratelimit-policy')).toBe('"default";q=1;w=1');
  expect((await send('/v1/pipelines', 'all')).status).toBe(200);
});

it('names clients in metrics and logs, and shows no key anywhere', async () => {
  await send('/v1/models/credit-default/rollback', 'models', { method: 'POST' });
  const metrics = await (await system.get('/metrics')).text();
  expect(metrics).toMatch(/millrace_http_requests_by_key_total\{key="cars",status="403"\} \d/);
  expect(metrics).toMatch(/millrace_http_requests_by_key_total\{key="",status="401"\} \d/);
  const log = await readFile(logFile, 'utf8');
  expect(log).toMatch(
    /"client":"models","method":"POST","path":"\/v1\/models\/credit-default\/rollback","status":\d+/,
  );
  for (const { key, entry } of Object.values(keys)) {
    expect(log + metrics).not.toContain(key);
    expect(log + metrics).not.toContain(entry.sha256);
  }
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { projectRoot } from '../../platform/paths.js';
import type { CreditDefaultEvent } from '../../schemas/types.js';
import { startSystem, type TestSystem } from './start.js';

const client = JSON.parse(
  readFileSync(join(projectRoot, 'examples', 'credit-default.json'), 'utf8'),
) as CreditDefaultEvent;
const predictPath = '/v1/pipelines/credit-default/predict';
const eventsPath = '/v1/pipelines/credit-default/events';

interface Prediction {
  event_id: string;
  prediction_id: string;
  score: number;
  label: string;
  model: string;
  model_version: string;
  predicted_at: string;
}

interface Problem {
  status: number;
  code: string;
  errors?: { field: string; problem: string }[];
}

let system: TestSystem;

beforeAll(async () => {
  system = await startSystem({ MAX_BODY_BYTES: '1000000' });
});

afterAll(async () => {
  await system.stop();
});

async function countRows(eventId: string): Promise<number> {
  const [row] = await system.sql<{ rows: number }>(
    `SELECT toUInt32(count()) AS rows FROM millrace.predictions WHERE event_id = '${eventId}'`,
  );
  return row?.rows ?? 0;
}

async function predict(body: unknown, headers?: Record<string, string>): Promise<Prediction> {
  const response = await system.post(predictPath, body, headers);
  expect(response.status).toBe(200);
  return (await response.json()) as Prediction;
}

/** Records on all partitions of the events topic, as the event ids' count in ClickHouse can't show a double. */
async function eventsOnTheLog(): Promise<number> {
  const metrics = await (await system.get('/metrics')).text();
  const line = /^millrace_events_accepted_total\{pipeline="credit-default",source="millrace\/http"\} (\d+)$/m;
  return Number(line.exec(metrics)?.[1] ?? 0);
}

describe('POST predict', () => {
  it('answers with a prediction that is a row a moment later, and looked up by its event id at once', async () => {
    const prediction = await predict(client);
    expect(prediction).toMatchObject({ model: 'credit-default', model_version: '1', label: 'no_default' });
    expect(prediction.score).toBeGreaterThan(0);
    expect(prediction.score).toBeLessThan(0.3);
    const found = await system.get(`/v1/predictions/${prediction.event_id}`);
    expect(await found.json()).toMatchObject({
      ...prediction,
      features: client,
      topic: 'credit-default.events',
    });
    await expect.poll(() => countRows(prediction.event_id)).toBe(1);
  });

  it('answers an array in its order', async () => {
    const limits = [10_000, 90_000, 500_000];
    const bodies = limits.map((LIMIT_BAL, index) => ({ ...client, LIMIT_BAL, event_id: `array-${index}` }));
    const response = await system.post(predictPath, bodies);
    const { predictions } = (await response.json()) as { predictions: Prediction[] };
    expect(predictions.map((prediction) => prediction.event_id)).toEqual(['array-0', 'array-1', 'array-2']);
    const alone = await predict({ ...client, LIMIT_BAL: limits[2] });
    expect(predictions[2]?.score).toBe(alone.score);
    expect(predictions[0]?.score).not.toBe(alone.score);
  });

  it('gives a repeated event id its first prediction, and puts nothing on the log', async () => {
    const first = await predict({ ...client, event_id: 'repeated' });
    const before = await eventsOnTheLog();
    expect(await predict({ ...client, event_id: 'repeated' })).toEqual(first);
    expect(await eventsOnTheLog()).toBe(before);
  });

  it('gives a repeated Idempotency-Key its first predictions, one id for each event in it', async () => {
    const bodies = [client, { ...client, AGE: 50 }];
    const send = async (): Promise<unknown> =>
      (await system.post(predictPath, bodies, { 'idempotency-key': 'order-1' })).json();
    const first = (await send()) as { predictions: Prediction[] };
    expect(new Set(first.predictions.map((prediction) => prediction.event_id)).size).toBe(2);
    expect(await send()).toEqual(first);
  });

  it('gives requests with one event id that come at once the same prediction', async () => {
    const before = await eventsOnTheLog();
    const all = await Promise.all(
      Array.from({ length: 20 }, () => predict({ ...client, event_id: 'at-once' })),
    );
    expect(new Set(all.map((prediction) => JSON.stringify(prediction))).size).toBe(1);
    expect(await eventsOnTheLog()).toBe(before + 1);
    await expect.poll(() => countRows('at-once')).toBe(1);
  });

  it('refuses another event under a known id', async () => {
    await predict({ ...client, event_id: 'taken' });
    const response = await system.post(predictPath, { ...client, AGE: 60, event_id: 'taken' });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ code: 'EVENT_ID_CONFLICT' });
  });

  it('names every wrong field and produces nothing', async () => {
    const before = await eventsOnTheLog();
    const { SEX: _, ...rest } = client;
    const response = await system.post(predictPath, {
      ...rest,
      AGE: 'old',
      PAY_0: 12,
      salary: 1,
      event_id: 7,
    });
    expect(response.status).toBe(422);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    const problem = (await response.json()) as Problem;
    expect(problem).toMatchObject({ status: 422, code: 'EVENT_INVALID' });
    expect(problem.errors?.map((error) => error.field).toSorted()).toEqual([
      'AGE',
      'PAY_0',
      'SEX',
      'event_id',
      'salary',
    ]);
    expect(await eventsOnTheLog()).toBe(before);
  });

  it('answers the good events of an array and names the bad ones in their place', async () => {
    const response = await system.post(predictPath, [client, { ...client, AGE: -1 }, 'no object', client]);
    expect(response.status).toBe(207);
    const { predictions } = (await response.json()) as { predictions: (Prediction & Problem)[] };
    expect(predictions.map((item) => item.code ?? item.label)).toEqual([
      'no_default',
      'EVENT_INVALID',
      'EVENT_INVALID',
      'no_default',
    ]);
  });
});

describe('POST events', () => {
  it('accepts an event, an array and lines, each scored as predict scores it', async () => {
    const { score } = await predict(client);
    const lines = [1, 2].map((n) => JSON.stringify({ ...client, event_id: `line-${n}` })).join('\n');
    const answers = await Promise.all([
      system.post(eventsPath, { ...client, event_id: 'one' }),
      system.post(eventsPath, [{ ...client, event_id: 'first' }, client]),
      system.post(eventsPath, lines, { 'content-type': 'application/x-ndjson' }),
    ]);
    expect(answers.map((answer) => answer.status)).toEqual([202, 202, 202]);
    const bodies = (await Promise.all(answers.map((answer) => answer.json()))) as { event_ids: string[] }[];
    const ids = bodies.flatMap((body) => body.event_ids);
    expect(ids).toEqual(['one', 'first', expect.stringMatching(/^[0-9a-f-]{36}$/), 'line-1', 'line-2']);
    const list = ids.map((id) => `'${id}'`).join(',');
    const query = `SELECT event_id, score FROM millrace.predictions WHERE event_id IN (${list}) ORDER BY event_id`;
    const rows = ids.toSorted().map((id) => ({ event_id: id, score }));
    await expect.poll(() => system.sql(query)).toEqual(rows);
  });

  it('accepts 997 of 1,000 and names the other three by index', async () => {
    const bad = new Set([0, 500, 999]);
    const bodies = Array.from({ length: 1000 }, (_, index) =>
      bad.has(index) ? { ...client, AGE: 1 } : client,
    );
    const response = await system.post(eventsPath, bodies);
    expect(response.status).toBe(207);
    const answer = (await response.json()) as {
      accepted: number;
      event_ids: string[];
      rejected: { index: number }[];
    };
    expect(answer.accepted).toBe(997);
    expect(new Set(answer.event_ids).size).toBe(997);
    expect(answer.rejected).toMatchObject(
      [...bad].map((index) => ({ index, status: 422, errors: [{ field: 'AGE' }] })),
    );
  });

  it('refuses a list in which nothing is right, and a line that is no JSON by its index', async () => {
    const response = await system.post(eventsPath, '{"AGE": 1}\n{', {
      'content-type': 'application/x-ndjson',
    });
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({
      accepted: 0,
      rejected: [
        { index: 0, code: 'EVENT_INVALID' },
        { index: 1, code: 'JSON_INVALID' },
      ],
    });
  });
});

describe('ids', () => {
  const other = { ...client, AGE: 61 };

  it('of accepted events are not given to others, by events or by predict', async () => {
    expect((await system.post(eventsPath, { ...client, event_id: 'kept' })).status).toBe(202);
    expect((await system.post(eventsPath, { ...client, event_id: 'kept' })).status).toBe(202);
    for (const path of [eventsPath, predictPath]) {
      const response = await system.post(path, { ...other, event_id: 'kept' });
      expect([response.status, ((await response.json()) as Problem).code]).toEqual([
        422,
        'EVENT_ID_CONFLICT',
      ]);
    }
    await expect.poll(() => countRows('kept')).toBe(1);
  });

  it('are not given twice in a request', async () => {
    const bodies = [
      { ...client, event_id: 'twice' },
      { ...other, event_id: 'twice' },
      { ...other, event_id: 'twice' },
    ];
    const conflicts = [1, 2].map((index) => ({ index, code: 'EVENT_ID_CONFLICT' }));
    const response = await system.post(eventsPath, bodies);
    expect(await response.json()).toMatchObject({ accepted: 1, rejected: conflicts });
  });

  it.each(['', 'x'.repeat(257)])('do not follow from the Idempotency-Key %j', async (key) => {
    const response = await system.post(predictPath, client, { 'idempotency-key': key });
    expect(response.status).toBe(400);
  });
});

describe('requests that are too much', () => {
  it('have at most so many events', async () => {
    const response = await system.post(eventsPath, '{}\n'.repeat(10_001), {
      'content-type': 'application/x-ndjson',
    });
    expect([response.status, ((await response.json()) as Problem).code]).toEqual([413, 'TOO_MANY_EVENTS']);
  });

  it('full of wrong events get an answer that is not many times their length', async () => {
    const body = '{}\n'.repeat(10_000);
    const response = await system.post(eventsPath, body, { 'content-type': 'application/x-ndjson' });
    const text = await response.text();
    expect(response.status).toBe(422);
    expect(text.length).toBeLessThan(5_000_000);
    const { rejected } = JSON.parse(text) as { rejected: Problem[] };
    expect(rejected).toHaveLength(10_000);
    expect(rejected[99]?.errors).toHaveLength(23);
    expect(rejected[100]?.errors).toBeUndefined();
  });
});

describe('requests that are no events', () => {
  it.each([
    ['broken JSON', predictPath, '{', {}, 400],
    ['an empty array', predictPath, '[]', {}, 400],
    ['a number', predictPath, '5', {}, 422],
    [
      'another content type',
      predictPath,
      'AGE=5',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
    ],
    ['no content type', predictPath, '{}', { 'content-type': '' }, 415],
    ['a compressed body', predictPath, '{}', { 'content-encoding': 'gzip' }, 415],
    ['a time that can’t be stored', predictPath, { ...client, event_time: '0000-01-01T00:00:00Z' }, {}, 422],
    ['a body over the limit', eventsPath, `[${' '.repeat(1_000_000)}]`, {}, 413],
    ['an unknown pipeline', '/v1/pipelines/no-such/predict', '{}', {}, 404],
    ['an unknown route', '/v1/nowhere', '{}', {}, 404],
  ])('%s', async (_name, path, body, headers, status) => {
    const response = await system.post(path, body, headers);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({
      status,
      code: expect.stringMatching(/^[A-Z_]+$/) as string,
    });
  });

  it('an unknown prediction', async () => {
    expect((await system.get('/v1/predictions/nobody')).status).toBe(404);
  });
});

describe('operations', () => {
  it('is live and ready, and says so of each part', async () => {
    expect((await system.get('/health/live')).status).toBe(200);
    const ready = await system.get('/health/ready');
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({
      status: 'up',
      parts: { log: { status: 'up' }, sink: { status: 'up' } },
    });
  });

  it('describes itself: pipelines, models, OpenAPI and a page', async () => {
    expect(await (await system.get('/v1/pipelines')).json()).toMatchObject({
      pipelines: [
        { name: 'car-price', model_version: '1' },
        { name: 'credit-default', model_version: '1' },
        { name: 'taxi-trip-duration', model_version: '1' },
      ],
    });
    expect(await (await system.get('/v1/models')).json()).toMatchObject({
      models: [
        { name: 'car-price-a', serving: true },
        { name: 'car-price-b', serving: true },
        { name: 'car-price-c', serving: true },
        { name: 'credit-default', serving: true },
        { name: 'taxi-trip-duration', serving: true },
      ],
    });
    const document = (await (await system.get('/openapi.json')).json()) as {
      paths: Record<string, unknown>;
      components: { schemas: { CreditDefaultEvent: { properties: Record<string, { maximum?: number }> } } };
    };
    expect(document.paths).toHaveProperty([predictPath]);
    expect(document.components.schemas.CreditDefaultEvent.properties['SEX']?.maximum).toBe(2);
    expect(await (await system.get('/docs')).text()).toContain('swagger-ui');
    expect((await system.get('/docs/swagger-ui-bundle.js')).status).toBe(200);
  });

  it('counts requests by route, not by path', async () => {
    await system.get('/v1/predictions/some-id');
    const metrics = await (await system.get('/metrics')).text();
    expect(metrics).toContain('route="/v1/predictions/:eventId"');
    expect(metrics).not.toContain('some-id');
  });

  it('shows how far each group is behind', async () => {
    const lag =
      /^millrace_consumer_lag_records\{group="millrace-(?:sink|score-credit-default)",topic="[a-z.-]+",partition="\d"\} \d+$/gm;
    const partitions = 3;
    const topics = 3 * 3 + 1;
    const modelEvents = 1;
    await expect
      .poll(async () => (await (await system.get('/metrics')).text()).match(lag)?.length)
      .toBe(partitions * topics + modelEvents);
  });
});

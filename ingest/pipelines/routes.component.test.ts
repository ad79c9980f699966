import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { exampleEvent } from '../testing/examples.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';
import type { Prediction } from './schemas.js';

const client = exampleEvent('credit-default');
const topic = 'credit-default.events';
const predictPath = '/v1/pipelines/credit-default/predict';
const eventsPath = '/v1/pipelines/credit-default/events';
const ndjson = { 'content-type': 'application/x-ndjson' };

interface Problem {
  status: number;
  code: string;
  errors?: { field: string; problem: string }[];
}

let api: TestApp;
beforeAll(async () => {
  api = await startTestApp({ MAX_BODY_BYTES: '1000000' });
});
afterAll(() => api.stop());
afterEach(() => {
  api.log.failure = undefined;
});

async function predict(body: unknown, headers?: Record<string, string>): Promise<Prediction> {
  const response = await api.post(predictPath, body, headers);
  expect(response.status).toBe(200);
  return (await response.json()) as Prediction;
}

async function problemOf(response: Response): Promise<Problem> {
  return (await response.json()) as Problem;
}

it('GET lists every pipeline with the version that scores', async () => {
  expect(await (await api.get('/v1/pipelines')).json()).toMatchObject({
    pipelines: [
      { name: 'car-price', model_version: '1' },
      { name: 'credit-default', model_version: '1', topics: { events: topic } },
      { name: 'taxi-trip-duration', model_version: '1' },
    ],
  });
});

describe('POST predict', () => {
  it('answers with a prediction whose event is on the log', async () => {
    const prediction = await predict({ ...client, event_id: 'logged' });
    expect(prediction).toMatchObject({ event_id: 'logged', model: 'credit-default', label: 'no_default' });
    expect(prediction.score).toBeGreaterThan(0);
    expect(prediction.score).toBeLessThan(0.3);
    expect(prediction.outputs).toEqual({ probability_of_default: prediction.score });
    expect(api.log.of(topic).at(-1)?.headers['ce_id']?.toString()).toBe('logged');
  });

  it('answers an array in its order', async () => {
    const limits = [10_000, 90_000, 500_000];
    const bodies = limits.map((LIMIT_BAL, index) => ({ ...client, LIMIT_BAL, event_id: `array-${index}` }));
    const response = await api.post(predictPath, bodies);
    const { predictions } = (await response.json()) as { predictions: Prediction[] };
    expect(predictions.map((prediction) => prediction.event_id)).toEqual(['array-0', 'array-1', 'array-2']);
    const alone = await predict({ ...client, LIMIT_BAL: limits[2] });
    expect(predictions[2]?.score).toBe(alone.score);
    expect(predictions[0]?.score).not.toBe(alone.score);
  });

  it('gives a repeated event id its first prediction, and writes nothing to the log', async () => {
    const first = await predict({ ...client, event_id: 'repeated' });
    const before = api.log.of(topic).length;
    expect(await predict({ ...client, event_id: 'repeated' })).toEqual(first);
    expect(api.log.of(topic)).toHaveLength(before);
  });

  it('gives a repeated Idempotency-Key its first predictions, one id for each event', async () => {
    const bodies = [client, { ...client, AGE: 50 }];
    const send = async (): Promise<unknown> =>
      (await api.post(predictPath, bodies, { 'idempotency-key': 'order-1' })).json();
    const first = (await send()) as { predictions: Prediction[] };
    expect(new Set(first.predictions.map((prediction) => prediction.event_id)).size).toBe(2);
    expect(await send()).toEqual(first);
  });

  it('gives concurrent requests with one event id the same prediction', async () => {
    const before = api.log.of(topic).length;
    const all = await Promise.all(
      Array.from({ length: 20 }, () => predict({ ...client, event_id: 'at-once' })),
    );
    expect(new Set(all.map((prediction) => JSON.stringify(prediction))).size).toBe(1);
    expect(api.log.of(topic)).toHaveLength(before + 1);
  });

  it('names every invalid field and writes nothing', async () => {
    const before = api.log.of(topic).length;
    const { SEX: _, ...rest } = client;
    const body = { ...rest, AGE: 'old', PAY_0: 12, salary: 1, event_id: 7 };
    const response = await api.post(predictPath, body);
    expect(response.status).toBe(422);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    const problem = await problemOf(response);
    expect(problem).toMatchObject({ status: 422, code: 'EVENT_INVALID' });
    const fields = problem.errors?.map((error) => error.field).toSorted();
    expect(fields).toEqual(['AGE', 'PAY_0', 'SEX', 'event_id', 'salary']);
    expect(api.log.of(topic)).toHaveLength(before);
  });

  it('answers the valid events of an array and names the others in their place', async () => {
    const response = await api.post(predictPath, [client, { ...client, AGE: -1 }, 'no object', client]);
    expect(response.status).toBe(207);
    const { predictions } = (await response.json()) as { predictions: (Prediction & Problem)[] };
    const items = predictions.map((item) => item.code ?? item.label);
    expect(items).toEqual(['no_default', 'EVENT_INVALID', 'EVENT_INVALID', 'no_default']);
  });

  it.each([
    ['one event', client],
    ['an array', [client, client]],
  ])('answers %s with 503 and Retry-After while the log is unavailable', async (_name, body) => {
    api.log.failure = new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
    const response = await api.post(predictPath, body);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await problemOf(response)).toMatchObject({ code: 'LOG_TIMEOUT' });
  });
});

describe('POST events', () => {
  it('accepts an event, an array and lines', async () => {
    const lines = [1, 2].map((n) => JSON.stringify({ ...client, event_id: `line-${n}` })).join('\n');
    const answers = [
      await api.post(eventsPath, { ...client, event_id: 'one' }),
      await api.post(eventsPath, [{ ...client, event_id: 'first' }, client]),
      await api.post(eventsPath, lines, ndjson),
    ];
    expect(answers.map((answer) => answer.status)).toEqual([202, 202, 202]);
    const bodies = (await Promise.all(answers.map((answer) => answer.json()))) as { event_ids: string[] }[];
    const ids = bodies.flatMap((body) => body.event_ids);
    expect(ids).toEqual(['one', 'first', expect.stringMatching(/^[0-9a-f-]{36}$/), 'line-1', 'line-2']);
    const written = api.log.of(topic).slice(-5);
    expect(written.map(({ headers }) => headers['ce_id']?.toString())).toEqual(ids);
  });

  it('accepts 997 of 1,000 and names the other three by index', async () => {
    const bad = new Set([0, 500, 999]);
    const bodies = Array.from({ length: 1000 }, (_, index) =>
      bad.has(index) ? { ...client, AGE: 1 } : client,
    );
    const response = await api.post(eventsPath, bodies);
    expect(response.status).toBe(207);
    const answer = (await response.json()) as { accepted: number; event_ids: string[]; rejected: object[] };
    expect(answer.accepted).toBe(997);
    expect(new Set(answer.event_ids).size).toBe(997);
    expect(answer.rejected).toMatchObject(
      [...bad].map((index) => ({ index, status: 422, errors: [{ field: 'AGE' }] })),
    );
  });

  it('refuses a list without valid events, and names a line that is not JSON by its index', async () => {
    const response = await api.post(eventsPath, '{"AGE": 1}\n{', ndjson);
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({
      accepted: 0,
      rejected: [
        { index: 0, code: 'EVENT_INVALID' },
        { index: 1, code: 'JSON_INVALID' },
      ],
    });
  });

  it('reports which events of a list the log did not accept, with their ids', async () => {
    const tooLarge = new MillraceError('RECORD_TOO_LARGE', 'Too large.');
    api.log.refuse = ({ headers }) => (headers?.['ce_id'] === 'refused' ? tooLarge : undefined);
    const response = await api.post(eventsPath, [client, { ...client, event_id: 'refused' }]);
    api.log.refuse = () => api.log.failure;
    expect(response.status).toBe(207);
    expect(await response.json()).toMatchObject({
      accepted: 1,
      rejected: [{ index: 1, code: 'RECORD_TOO_LARGE', event_id: 'refused' }],
    });
  });
});

describe('event ids', () => {
  const other = { ...client, AGE: 61 };

  it('of accepted events are refused for other events, by events and by predict', async () => {
    expect((await api.post(eventsPath, { ...client, event_id: 'kept' })).status).toBe(202);
    expect((await api.post(eventsPath, { ...client, event_id: 'kept' })).status).toBe(202);
    for (const path of [eventsPath, predictPath]) {
      const response = await api.post(path, { ...other, event_id: 'kept' });
      expect([response.status, (await problemOf(response)).code]).toEqual([422, 'EVENT_ID_CONFLICT']);
    }
  });

  it('of predicted events are refused for other events', async () => {
    await predict({ ...client, event_id: 'taken' });
    const response = await api.post(predictPath, { ...client, AGE: 60, event_id: 'taken' });
    expect([response.status, (await problemOf(response)).code]).toEqual([422, 'EVENT_ID_CONFLICT']);
  });

  it('belong to one event of a request', async () => {
    const bodies = [client, other, other].map((body) => ({ ...body, event_id: 'twice' }));
    const conflicts = [1, 2].map((index) => ({ index, code: 'EVENT_ID_CONFLICT' }));
    const response = await api.post(eventsPath, bodies);
    expect(await response.json()).toMatchObject({ accepted: 1, rejected: conflicts });
  });

  it.each(['', 'x'.repeat(257)])('are not derived from the Idempotency-Key %j', async (key) => {
    const response = await api.post(predictPath, client, { 'idempotency-key': key });
    expect([response.status, (await problemOf(response)).code]).toEqual([400, 'IDEMPOTENCY_KEY_INVALID']);
  });
});

describe('large requests', () => {
  it('have a maximum number of events', async () => {
    const response = await api.post(eventsPath, '{}\n'.repeat(10_001), ndjson);
    expect([response.status, (await problemOf(response)).code]).toEqual([413, 'TOO_MANY_EVENTS']);
  });

  it('full of invalid events get an answer of limited length', async () => {
    const response = await api.post(eventsPath, '{}\n'.repeat(10_000), ndjson);
    const text = await response.text();
    expect(response.status).toBe(422);
    expect(text.length).toBeLessThan(5_000_000);
    const { rejected } = JSON.parse(text) as { rejected: Problem[] };
    expect(rejected).toHaveLength(10_000);
    expect(rejected[99]?.errors).toHaveLength(23);
    expect(rejected[100]?.errors).toBeUndefined();
  });
});

describe('a request is refused', () => {
  it.each([
    ['broken JSON', predictPath, '{', {}, 400, 'JSON_INVALID'],
    ['an empty array', predictPath, '[]', {}, 400, 'BODY_EMPTY'],
    ['a number', predictPath, '5', {}, 422, 'EVENT_INVALID'],
    [
      'another content type',
      predictPath,
      'AGE=5',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      'CONTENT_TYPE_UNSUPPORTED',
    ],
    ['no content type', predictPath, '{}', { 'content-type': '' }, 415, 'CONTENT_TYPE_UNSUPPORTED'],
    ['a compressed body', predictPath, '{}', { 'content-encoding': 'gzip' }, 415, 'CONTENT_TYPE_UNSUPPORTED'],
    [
      'a time that can’t be stored',
      predictPath,
      { ...client, event_time: '0000-01-01T00:00:00Z' },
      {},
      422,
      'EVENT_INVALID',
    ],
    ['a body over the limit', eventsPath, `[${' '.repeat(1_000_000)}]`, {}, 413, 'BODY_TOO_LARGE'],
    ['an unknown pipeline', '/v1/pipelines/no-such/predict', '{}', {}, 404, 'PIPELINE_UNKNOWN'],
  ])('%s', async (_name, path, body, headers, status, code) => {
    const response = await api.post(path, body, headers);
    expect([response.status, await problemOf(response)]).toMatchObject([status, { status, code }]);
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from './start.js';

const example = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(packageRoot, 'examples', `${name}.json`), 'utf8')) as Record<string, unknown>;
const ride = example('taxi-trip-duration');
// The body of AIMQ's own curl command.
const car = example('car-price');
const client = example('credit-default');
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
}

let system: TestSystem;

beforeAll(async () => {
  system = await startSystem();
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

/**
 * Counts the records on all partitions of the events topic, since a count of event ids in ClickHouse can't
 * show duplicates.
 */
async function eventsOnTheLog(): Promise<number> {
  const metrics = await (await system.get('/metrics')).text();
  const line = /^millrace_events_accepted_total\{pipeline="credit-default",source="millrace\/http"\} (\d+)$/m;
  return Number(line.exec(metrics)?.[1] ?? 0);
}

describe('POST predict', () => {
  it('answers with a prediction that is a row a moment later, and can be looked up by its event id at once', async () => {
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

  it('gives concurrent requests with one event id the same prediction', async () => {
    const before = await eventsOnTheLog();
    const all = await Promise.all(
      Array.from({ length: 20 }, () => predict({ ...client, event_id: 'at-once' })),
    );
    expect(new Set(all.map((prediction) => JSON.stringify(prediction))).size).toBe(1);
    expect(await eventsOnTheLog()).toBe(before + 1);
    await expect.poll(() => countRows('at-once')).toBe(1);
  });
});

describe('POST events', () => {
  it('accepts an event, an array and lines, each scored like by predict', async () => {
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
});

describe('ids', () => {
  const other = { ...client, AGE: 61 };

  it('of accepted events are refused for other events, by events and by predict', async () => {
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
});

describe('operations', () => {
  it('is live and ready, and reports the state of each part', async () => {
    expect((await system.get('/health/live')).status).toBe(200);
    await expect
      .poll(async () => {
        const ready = await system.get('/health/ready');
        return [ready.status, await ready.json()];
      })
      .toMatchObject([200, { status: 'up', parts: { log: { status: 'up' }, sink: { status: 'up' } } }]);
  });

  it('shows the lag of each group', async () => {
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

async function predictRide(changes: object): Promise<Response> {
  return system.post('/v1/pipelines/taxi-trip-duration/predict', { ...ride, ...changes });
}

describe('taxi-trip-duration', () => {
  it('makes a ride a row of ride_predictions, its start given as text', async () => {
    const answer = (await (await predictRide({})).json()) as { event_id: string; score: number };
    const find = () =>
      system.sql(`SELECT * FROM millrace.ride_predictions WHERE trip_id = '${answer.event_id}'`);
    await expect.poll(async () => (await find()).length).toBe(1);
    expect(await find()).toEqual([
      {
        ...ride,
        trip_id: answer.event_id,
        trip_start_timestamp: '2026-01-30 17:45:00.000',
        predicted_duration: answer.score,
        created_at: expect.stringMatching(/^\d{4}-/) as string,
      },
    ]);
  });

  it('accepts the start in milliseconds as the same, and refuses one in seconds', async () => {
    const scoreOf = async (start: unknown): Promise<unknown> =>
      ((await (await predictRide({ trip_start_timestamp: start })).json()) as { score: number }).score;
    const start = Date.UTC(2026, 0, 30, 17, 45);
    expect(await scoreOf(start)).toBe(await scoreOf('2026-01-30T18:45:00+01:00'));
    const refused = await predictRide({ trip_start_timestamp: start / 1000 });
    expect(refused.status).toBe(422);
    expect(await refused.json()).toMatchObject({ errors: [{ field: 'trip_start_timestamp' }] });
  });
});

describe('car-price', () => {
  it('scores each model group with its own model, synchronously and from the stream', async () => {
    const cars = ['A', 'B', 'C', 'A'].map((model_group, index) => ({
      ...car,
      model_group,
      event_id: `car-${index}`,
    }));
    const response = await system.post('/v1/pipelines/car-price/predict', cars);
    const { predictions } = (await response.json()) as { predictions: { model: string; score: number }[] };
    const modelNames = ['car-price-a', 'car-price-b', 'car-price-c', 'car-price-a'];
    expect(predictions.map(({ model }) => model)).toEqual(modelNames);
    const streamed = cars.map((each) => ({ ...each, event_id: `streamed-${each.event_id}` }));
    expect((await system.post('/v1/pipelines/car-price/events', streamed)).status).toBe(202);
    const find = () =>
      system.sql<{ model: string; score: number }>(
        `SELECT model, score FROM millrace.predictions WHERE event_id LIKE 'streamed-car-%' ORDER BY event_id`,
      );
    await expect.poll(async () => (await find()).length).toBe(4);
    expect(await find()).toEqual(predictions.map(({ model, score }) => ({ model, score })));
  });

  it('names all its models', async () => {
    const { pipelines } = (await (await system.get('/v1/pipelines')).json()) as {
      pipelines: { name: string; models: { name: string }[] }[];
    };
    expect(pipelines.find(({ name }) => name === 'car-price')?.models).toMatchObject([
      { name: 'car-price-a', version: '1' },
      { name: 'car-price-b', version: '1' },
      { name: 'car-price-c', version: '1' },
    ]);
  });
});

describe('POST /predict', () => {
  const predictCar = (body: unknown, headers = {}): Promise<Response> =>
    system.post('/predict', body, headers);

  it('answers AIMQ’s own request in its format, with a price that is a row a moment later', async () => {
    const response = await predictCar(car);
    expect(response.status).toBe(200);
    const answer = (await response.json()) as { predicted_price: number; event_id: string };
    expect(answer).toMatchObject({ model: 'car-price-a', model_version: '1' });
    expect(answer.predicted_price).toBeGreaterThan(15_000);
    expect(answer.predicted_price).toBeLessThan(35_000);
    const find = () =>
      system.sql(`SELECT score FROM millrace.predictions WHERE event_id = '${answer.event_id}'`);
    await expect.poll(find).toEqual([{ score: answer.predicted_price }]);
  });

  it('accepts what AIMQ accepts: any content type, numbers as text, other fields, unknown categories', async () => {
    const { predicted_price } = (await (await predictCar(car)).json()) as { predicted_price: number };
    const body = { ...car, model: '180', kilometers: '5000', age_in_months: '12', plate: 'none' };
    const lenient = await predictCar(body, { 'content-type': 'application/x-www-form-urlencoded' });
    expect(await lenient.json()).toMatchObject({ predicted_price });
    expect((await predictCar({ ...car, color: 'Mauve', fuel_type: 'Coal' })).status).toBe(200);
  });

  it('has no effect for a repeated event id', async () => {
    const first = await (await predictCar({ ...car, event_id: 'aimq-1' })).json();
    expect(await (await predictCar({ ...car, event_id: 'aimq-1' })).json()).toEqual(first);
  });

  it.each([
    ['broken JSON', '{"model_group":', { code: 'JSON_INVALID' }],
    ['no object', [car], { code: 'EVENT_INVALID' }],
    [
      'wrong fields',
      { ...car, model_group: 'D', kilometers: -1, climate: undefined },
      {
        code: 'EVENT_INVALID',
        errors: [{ field: 'model_group' }, { field: 'kilometers' }, { field: 'climate' }],
      },
    ],
  ])('answers %s with 400, AIMQ’s error and our problem details', async (_, body, problem) => {
    const response = await predictCar(body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: 'Invalid request body', status: 400, ...problem });
  });
});

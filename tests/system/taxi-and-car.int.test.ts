import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { projectRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from './start.js';

const example = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(projectRoot, 'examples', `${name}.json`), 'utf8')) as Record<string, unknown>;
const ride = example('taxi-trip-duration');
// The body of AIMQ's own curl command.
const car = example('car-price');

let system: TestSystem;

beforeAll(async () => {
  system = await startSystem();
});

afterAll(async () => {
  await system.stop();
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

  it('takes the start in milliseconds as the same, and refuses one in seconds', async () => {
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
  const predict = (body: unknown, headers = {}): Promise<Response> => system.post('/predict', body, headers);

  it('answers AIMQ’s own request in its shape, with a price that is a row a moment later', async () => {
    const response = await predict(car);
    expect(response.status).toBe(200);
    const answer = (await response.json()) as { predicted_price: number; event_id: string };
    expect(answer).toMatchObject({ model: 'car-price-a', model_version: '1' });
    expect(answer.predicted_price).toBeGreaterThan(15_000);
    expect(answer.predicted_price).toBeLessThan(35_000);
    const find = () =>
      system.sql(`SELECT score FROM millrace.predictions WHERE event_id = '${answer.event_id}'`);
    await expect.poll(find).toEqual([{ score: answer.predicted_price }]);
  });

  it('takes what AIMQ takes: any content type, numbers as text, other fields, unknown categories', async () => {
    const { predicted_price } = (await (await predict(car)).json()) as { predicted_price: number };
    const body = { ...car, model: '180', kilometers: '5000', age_in_months: '12', plate: 'none' };
    const lenient = await predict(body, { 'content-type': 'application/x-www-form-urlencoded' });
    expect(await lenient.json()).toMatchObject({ predicted_price });
    expect((await predict({ ...car, color: 'Mauve', fuel_type: 'Coal' })).status).toBe(200);
  });

  it('repeats nothing for a repeated event id', async () => {
    const first = await (await predict({ ...car, event_id: 'aimq-1' })).json();
    expect(await (await predict({ ...car, event_id: 'aimq-1' })).json()).toEqual(first);
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
    const response = await predict(body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: 'Invalid request body', status: 400, ...problem });
  });
});

import { afterAll, beforeAll, expect, it } from 'vitest';
import { startSystem, type TestSystem } from './start.js';

let system: TestSystem;

beforeAll(async () => {
  system = await startSystem({
    TAXI_SCHEDULE: '*/2 * * * * *',
    TAXI_SCHEDULE_MIN_RIDES: '3',
    TAXI_SCHEDULE_MAX_RIDES: '3',
  });
});

afterAll(() => system.stop());

interface Schedules {
  schedules: [
    {
      next_run: string;
      runs: number;
      last_run: { due_at: string; events: number; catch_up: boolean } | null;
    },
  ];
}

async function schedule(): Promise<Schedules['schedules'][0]> {
  const { schedules } = (await (await system.get('/v1/schedules')).json()) as Schedules;
  return schedules[0];
}

it('rides arrive on schedule, are scored, and can be queried in a view', async () => {
  // On a busy machine a run may come late, and catch up.
  await expect.poll(schedule).toMatchObject({
    runs: expect.toSatisfy((runs: number) => runs >= 2) as number,
    last_run: { events: 3, catch_up: false },
  });
  const { last_run, next_run, runs } = await schedule();
  expect(Date.parse(next_run)).toBeGreaterThan(Date.parse(last_run?.due_at ?? ''));
  const due =
    'SELECT toUInt32(count()) AS rides, min(predicted_duration) > 0 AS positive FROM millrace.ride_predictions';
  await expect
    .poll(async () => (await system.sql<{ rides: number }>(due))[0]?.rides)
    .toBeGreaterThanOrEqual(runs * 3);
  const [all] = await system.sql<{ rides: number; positive: number }>(due);
  expect(all?.positive).toBe(1);
});

it('the schedule is a part of readiness, and its runs of the metrics', async () => {
  await expect
    .poll(async () => (await system.get('/health/ready')).json())
    .toMatchObject({ parts: { 'schedule taxi-rides': { status: 'up' } } });
  const metrics = await (await system.get('/metrics')).text();
  expect(metrics).toMatch(/millrace_scheduled_runs_total\{schedule="taxi-rides",catch_up="false"\} [1-9]/);
});

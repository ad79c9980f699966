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

  it('gives requests with one event id that come at once the same prediction', async () => {
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

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { idempotentJobId } from '../../processors/events/ids.js';
import { fileForm, type JobAnswer, whenFinished } from '../system/file-jobs.js';
import { startSystem, type TestSystem } from '../system/start.js';

type Car = Record<string, number | string>;

let system: TestSystem;
let car: Car;

beforeAll(async () => {
  system = await startSystem();
  car = JSON.parse(await readFile(join(packageRoot, 'examples', 'car-price.json'), 'utf8')) as Car;
});
afterAll(() => system.stop());

const csvOf = (...cars: Car[]): string =>
  [Object.keys(car), ...cars.map((each) => Object.values(each))].map((cells) => cells.join(',')).join('\n');

const upload = (content: string, key: string, name = 'cars.csv'): Promise<Response> =>
  fetch(`${system.endpoints.http}/v1/pipelines/car-price/files`, {
    method: 'POST',
    body: fileForm(content, name),
    headers: { 'idempotency-key': key },
  });

const driven = (kilometers: number): Car => ({ ...car, kilometers });

describe('an Idempotency-Key that others can guess', () => {
  it('gives no client a row of the job, whatever events were sent before it', async () => {
    const key = '2026-11-28';
    const jobId = idempotentJobId('car-price', JSON.stringify(['', key]));
    const cheap = { ...driven(400_000), age_in_months: 200 };
    for (const row of [1, 2, 3]) {
      const event_id = `${jobId}-${String(row).padStart(8, '0')}`;
      const sent = await system.post('/v1/pipelines/car-price/predict', { ...cheap, event_id });
      expect(sent.status).toBe(200);
    }
    const cars = [driven(10_000), driven(60_000), { ...car, kilometers: 'many' }];
    const { job_id } = (await (await upload(csvOf(...cars), key)).json()) as JobAnswer;
    expect(job_id).toBe(jobId);
    const job = await whenFinished(system.endpoints.http, job_id);
    expect(job.rows).toEqual({ total: 3, published: 2, scored: 2, failed: 1 });
    const result = await (await system.get(job.links.result)).text();
    const rows: Record<string, string>[] = parse(result, { columns: true });
    for (const [index, row] of rows.slice(0, 2).entries()) {
      const answer = await system.post('/v1/pipelines/car-price/predict', cars[index]);
      expect(Number(row['prediction'])).toBe(((await answer.json()) as { score: number }).score);
    }
    expect(rows[2]).toMatchObject({ prediction: '', error: expect.stringContaining('kilometers') as string });
  });
});

describe('an Idempotency-Key with another file', () => {
  it('is refused; with the same file under any name the existing job is returned', async () => {
    const first = (await (await upload(csvOf(car), 'one', 'a.csv')).json()) as JobAnswer;
    await whenFinished(system.endpoints.http, first.job_id);
    const again = await upload(csvOf(car), 'one', 'b.csv');
    expect(again.status).toBe(202);
    expect(await again.json()).toMatchObject({ job_id: first.job_id, state: 'done', file_name: 'a.csv' });
    for (const content of [csvOf(driven(1)), csvOf(car, car), '\u0001\u0002', '']) {
      const other = await upload(content, 'one');
      expect(other.status).toBe(422);
      expect(await other.json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    }
  });

  it('sent concurrently: one file wins, and the others are refused', async () => {
    const files = Array.from({ length: 5 }, (_, index) =>
      csvOf(...Array.from({ length: index + 1 }, () => car)),
    );
    const answers = await Promise.all(files.map((content, index) => upload(content, 'race', `${index}.csv`)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([202, 422, 422, 422, 422]);
    const winner = answers.findIndex(({ status }) => status === 202);
    const job = (await answers.find(({ status }) => status === 202)?.json()) as JobAnswer | undefined;
    expect(await whenFinished(system.endpoints.http, job?.job_id ?? '')).toMatchObject({
      file_name: `${winner}.csv`,
      rows: { scored: winner + 1 },
    });
  });

  it('sent concurrently with the same file: all get the same job', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => upload(csvOf(car, car), 'same')));
    const jobs = (await Promise.all(answers.map((answer) => answer.json()))) as JobAnswer[];
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(jobs.map(({ job_id }) => job_id)).size).toBe(1);
    const [job] = jobs;
    expect((await whenFinished(system.endpoints.http, job?.job_id ?? '')).rows.scored).toBe(2);
  });
});

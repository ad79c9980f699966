import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Hono } from 'hono';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { projectRoot } from '../platform/paths.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import { hourMs, jobOf, JobsFixture, type TestJobs } from '../processors/jobs/testing/jobs-fixture.js';
import { loadContract } from '../schemas/contracts.js';
import { fileForm } from '../tests/system/file-jobs.js';
import { acceptFile } from './file-jobs.js';

const name = 'credit-default';
const retentionMs = 7 * 24 * hourMs;

let fixture: JobsFixture;
let csv: string;
beforeAll(async () => {
  fixture = await JobsFixture.start();
  const example = await readFile(join(projectRoot, 'examples', `${name}.json`), 'utf8');
  const client = JSON.parse(example) as Record<string, number>;
  csv = [Object.keys(client), Object.values(client)].map((cells) => cells.join(',')).join('\n');
});
afterEach(() => fixture.closeOpened());
afterAll(() => fixture.stop());

/** Sends the file to a route that accepts it. @returns the code of the error, or `accepted`. */
async function upload(jobs: TestJobs, timeoutMs: number, scoreColumn = 'prediction'): Promise<string> {
  // As far as accepting a file knows one.
  const pipeline = { name, event: { ...loadContract(name, 'event'), schemaId: 1 } } as OpenPipeline;
  const app = new Hono().post('/', async (c) => {
    const options = { idempotencyKey: undefined, timeoutMs, scoreColumn };
    await acceptFile(c, { ...jobs, maxFileBytes: 100_000 }, pipeline, options);
    return c.text('accepted');
  });
  app.onError((error, c) => c.text('code' in error ? String(error.code) : error.message));
  const answer = await app.request('/', { method: 'POST', body: fileForm(csv, 'clients.csv') });
  return answer.text();
}

test('a file whose job the log refuses for good is removed at once', async () => {
  const jobs = await fixture.openJobs({ pipelines: [], retentionMs });
  // More than a record may have.
  expect(await upload(jobs, 20_000, 'x'.repeat(2_000_000))).toBe('RECORD_TOO_LARGE');
  expect(await jobs.files.names()).toEqual([]);
  expect(await upload(jobs, 20_000)).toBe('accepted');
  expect(await jobs.files.names()).toHaveLength(1);
});

test('after an outage of the log a file stays, and is swept later when no job has it', async () => {
  const { network, ...jobs } = await fixture.openJobs({ pipelines: [name], retentionMs });
  network.cut();
  for (let file = 1; file <= 3; file++) {
    expect(await upload({ ...jobs, network }, 200)).toBe('LOG_TIMEOUT');
    expect(await jobs.files.names()).toHaveLength(file);
  }
  network.restore();
  const [accepted = '', lost = '', young = ''] = await jobs.files.names();
  const { log: elsewhere } = await fixture.openLog();
  await elsewhere.accept(jobOf({ job_id: accepted, pipeline: name }), 20_000);
  for (const old of [accepted, lost]) await jobs.files.age(old, 2 * hourMs);
  jobs.runner.start();
  await expect.poll(() => jobs.files.names()).toEqual([accepted, young]);
});

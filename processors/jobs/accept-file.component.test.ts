import { createHash, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { loadContract } from '../../schemas/contracts.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { acceptFile } from './accept-file.js';
import { JobsFixture, type TestJobs } from './testing/jobs-fixture.js';
import { hourMs, jobOf } from './testing/test-job.js';

const name = 'credit-default';
const retentionMs = 7 * 24 * hourMs;

let fixture: JobsFixture;
let csv: string;
beforeAll(async () => {
  fixture = await JobsFixture.start();
  const example = await readFile(join(packageRoot, 'examples', `${name}.json`), 'utf8');
  const client = JSON.parse(example) as Record<string, number>;
  csv = [Object.keys(client), Object.values(client)].map((cells) => cells.join(',')).join('\n');
});
afterEach(() => fixture.closeOpened());
afterAll(() => fixture.stop());

/** Receives the file and accepts it as a job. */
async function accept(jobs: TestJobs, timeoutMs: number, scoreColumn?: string): Promise<unknown> {
  // The part of a pipeline that accepting a file uses.
  const pipeline = { name, event: { ...loadContract(name, 'event'), schemaId: 1 } } as OpenPipeline;
  const id = randomUUID();
  const received = {
    id,
    path: await jobs.files.receive(id, Readable.from([csv])),
    name: 'clients.csv',
    bytes: csv.length,
    digest: createHash('sha256').update(csv).digest('hex'),
  };
  const options = { idempotencyKey: undefined, owner: null, timeoutMs, scoreColumn };
  return acceptFile(jobs, pipeline, received, options);
}

test('a file whose job the log refuses permanently is removed at once', async () => {
  const jobs = await fixture.openJobs({ pipelines: [], retentionMs });
  // More than a record may have.
  const refused = accept(jobs, 20_000, 'x'.repeat(2_000_000));
  await expect(refused).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
  expect(await jobs.files.names()).toEqual([]);
  expect(await accept(jobs, 20_000)).toMatchObject({ state: 'accepted', score_column: 'prediction' });
  expect(await jobs.files.names()).toHaveLength(1);
});

test('a file stays after an outage of the log, and is removed later if it belongs to no job', async () => {
  const { network, ...jobs } = await fixture.openJobs({ pipelines: [name], retentionMs });
  network.cut();
  for (let file = 1; file <= 3; file++) {
    await expect(accept({ ...jobs, network }, 200)).rejects.toMatchObject({ code: 'LOG_TIMEOUT' });
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

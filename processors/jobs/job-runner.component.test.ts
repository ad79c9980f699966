import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { listening } from '../../tests/contract/listening-logger.js';
import type { Job } from './job.js';
import { JobsFixture } from './testing/jobs-fixture.js';
import { hourMs, jobOf } from './testing/test-job.js';

const dayMs = 24 * hourMs;
const retentionMs = 7 * dayMs;

let fixture: JobsFixture;
beforeAll(async () => {
  fixture = await JobsFixture.start();
});
afterEach(() => fixture.closeOpened());
afterAll(() => fixture.stop());

test('a job with an unknown pipeline is reported once, and its file is removed after the retention', async () => {
  const told: object[] = [];
  const logger = listening((level, details, message) => {
    if (level === 'error') told.push({ level, ...details, message });
  });
  const { log, files, runner } = await fixture.openJobs({ pipelines: ['here'], retentionMs, logger });
  const put = async (job: Job, agoMs: number): Promise<string> => {
    await log.accept(job, 5_000);
    await files.put(job.job_id);
    await files.age(job.job_id, agoMs);
    return job.job_id;
  };
  const expired = await put(jobOf({ pipeline: 'gone', state: 'publishing' }), retentionMs + hourMs);
  const young = await put(jobOf({ pipeline: 'gone' }), retentionMs - hourMs);
  const unfinished = await put(jobOf({ pipeline: 'here', state: 'publishing' }), 10 * retentionMs);
  await put(jobOf({ pipeline: 'here', state: 'done' }), retentionMs + hourMs);

  const looks = vi.spyOn(log, 'unfinished');
  runner.start();
  await expect.poll(() => files.names()).toEqual([young, unfinished].toSorted());
  await expect.poll(() => looks.mock.calls.length).toBeGreaterThanOrEqual(3);
  const message = expect.stringContaining('this process has no such pipeline') as string;
  const report = { level: 'error', pipeline: 'gone', message };
  expect(told).toHaveLength(2);
  expect(told).toEqual(
    expect.arrayContaining([
      { ...report, job: expired },
      { ...report, job: young },
    ]),
  );
});

test('jobs that ended long ago are removed from the log', async () => {
  const { log, runner } = await fixture.openJobs({ pipelines: ['here'], retentionMs });
  const old = jobOf({ state: 'done', agoMs: 2 * retentionMs + hourMs });
  const young = jobOf({ state: 'failed', agoMs: 2 * retentionMs - hourMs });
  for (const job of [old, young]) await log.accept(job, 5_000);
  runner.start();
  await expect.poll(() => log.get(old.job_id)).toBeUndefined();
  const { log: anew } = await fixture.openLog();
  expect(anew.get(old.job_id)).toBeUndefined();
  expect(anew.get(young.job_id)).toEqual(young);
});

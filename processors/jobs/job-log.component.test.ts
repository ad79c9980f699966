import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Job } from './job.js';
import type { JobLog } from './job-log.js';
import { JobsFixture } from './testing/jobs-fixture.js';
import { hourMs, jobOf } from './testing/test-job.js';

let fixture: JobsFixture;
beforeAll(async () => {
  fixture = await JobsFixture.start();
});
afterEach(() => fixture.closeOpened());
afterAll(() => fixture.stop());

/** Returns the jobs among these that a log knows. */
function known(log: JobLog, jobs: readonly Job[]): string[] {
  return jobs.map(({ job_id }) => job_id).filter((id) => log.get(id) !== undefined);
}

test('forgotten finished jobs stay forgotten for every reader of the log, and all others are known', async () => {
  const { log } = await fixture.openLog();
  const { log: elsewhere } = await fixture.openLog();
  const done = jobOf({ state: 'done', agoMs: 3 * hourMs });
  const failed = jobOf({ state: 'failed', agoMs: 3 * hourMs });
  const young = jobOf({ state: 'done', agoMs: hourMs });
  const unfinished = jobOf({ state: 'publishing', agoMs: 3 * hourMs });
  const jobs = [done, failed, young, unfinished];
  for (const job of jobs) await log.accept(job, 5_000);
  await elsewhere.whenCaughtUp(20_000);
  expect(known(elsewhere, jobs)).toHaveLength(4);

  await log.removeFinishedBefore(Date.now() - 2 * hourMs);
  const kept = [young.job_id, unfinished.job_id];
  expect(known(log, jobs)).toEqual(kept);
  await elsewhere.whenCaughtUp(20_000);
  expect(known(elsewhere, jobs)).toEqual(kept);
  const { log: anew } = await fixture.openLog();
  expect(known(anew, jobs)).toEqual(kept);
  expect(anew.get(unfinished.job_id)).toMatchObject(unfinished);
});

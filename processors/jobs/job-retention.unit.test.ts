import { expect, test } from 'vitest';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { PipelineSet } from '../pipelines/pipeline-set.js';
import type { JobFiles } from './job-files.js';
import type { JobLog } from './job-log.js';
import { removeOldJobs } from './job-retention.js';
import type { Job } from './job.js';
import { hourMs, jobOf } from './testing/test-job.js';

test.each<[string, Job | undefined, number, number]>([
  ['a finished job', jobOf({ state: 'done' }), 7, 7],
  ['an unfinished job', jobOf({ state: 'scoring' }), 7, Number.POSITIVE_INFINITY],
  ['a job whose pipeline is gone', jobOf({ state: 'scoring', pipeline: 'gone' }), 7, 7],
  ['no job', undefined, 7, 1],
  ['no job, with a retention of less than an hour', undefined, 0.5, 0.5],
])('keeps the files of %s for as long as they may be needed', async (_, job, retentionHours, hours) => {
  let keptMs: number | undefined;
  let before = 0;
  const files = {
    sweep: (kept: (jobId: string | undefined) => number) => {
      keptMs = kept('id');
      return Promise.resolve();
    },
  };
  const log = {
    get: () => job,
    removeFinishedBefore: (time: number) => {
      before = time;
      return Promise.resolve();
    },
  };
  const startedAt = Date.now();
  await removeOldJobs({
    log: log as unknown as JobLog,
    files: files as unknown as JobFiles,
    pipelines: new PipelineSet([['here', { name: 'here' } as OpenPipeline]]),
    retentionMs: retentionHours * hourMs,
  });
  expect(keptMs).toBe(hours * hourMs);
  expect(before).toBeGreaterThanOrEqual(startedAt - 2 * retentionHours * hourMs);
  expect(before).toBeLessThanOrEqual(Date.now() - 2 * retentionHours * hourMs);
});

import { expect, test } from 'vitest';
import { isValid, type Job } from './job.js';
import { jobOf } from './testing/test-job.js';

test.each<[string, Partial<Job>, boolean]>([
  ['one of this program', {}, true],
  ['a finished one', { state: 'done', finished_at: 2_000 }, true],
  ['an id that leads to another folder', { job_id: '../other' }, false],
  ['an empty id', { job_id: '' }, false],
  ['a beginning that no date has', { created_at: 2 ** 53 }, false],
  ['a time that no date has', { at: -(2 ** 53) }, false],
  ['an end that no date has', { finished_at: 8.64e15 + 1 }, false],
])('an event of a job with %s', (_what, given, valid) => {
  expect(isValid(jobOf(given))).toBe(valid);
});

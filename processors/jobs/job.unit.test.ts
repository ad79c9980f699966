import { expect, test } from 'vitest';
import { isValid, type Job } from './job.js';

const job: Job = {
  job_id: '0190a1b2-c3d4-7000-8000-000000000000',
  pipeline: 'car-price',
  state: 'accepted',
  created_at: 1_000,
  at: 1_000,
  finished_at: null,
  runner: null,
  file_name: 'cars.csv',
  format: 'csv',
  bytes: 1,
  rows_total: null,
  rows_read: 0,
  rows_invalid: 0,
  rows_scored: 0,
  rows_failed: 0,
  error_code: null,
  error: null,
  owner: null,
  digest: null,
  row_ids: null,
  score_column: '',
};

test.each<[string, Partial<Job>, boolean]>([
  ['one of this program', {}, true],
  ['a finished one', { state: 'done', finished_at: 2_000 }, true],
  ['an id that leads to another folder', { job_id: '../other' }, false],
  ['an empty id', { job_id: '' }, false],
  ['a beginning that no date has', { created_at: 2 ** 53 }, false],
  ['a time that no date has', { at: -(2 ** 53) }, false],
  ['an end that no date has', { finished_at: 8.64e15 + 1 }, false],
])('an event of a job with %s', (_what, given, valid) => {
  expect(isValid({ ...job, ...given })).toBe(valid);
});

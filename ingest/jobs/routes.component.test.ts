import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { csvUpload, exampleEvent } from '../testing/examples.js';
import { finishJob } from '../testing/finish-job.js';
import { startTestApp, type TestApp } from '../testing/test-app.js';
import type { JobAnswer } from './schemas.js';

const client = exampleEvent('credit-default');
const filesPath = '/v1/pipelines/credit-default/files';

let api: TestApp;
beforeAll(async () => {
  api = await startTestApp({ MAX_FILE_BYTES: '100000' });
});
afterAll(() => api.stop());
afterEach(() => {
  api.log.failure = undefined;
});

async function accept(headers: Record<string, string> = {}): Promise<JobAnswer> {
  const response = await api.post(filesPath, csvUpload(client), headers);
  expect(response.status).toBe(202);
  const job = (await response.json()) as JobAnswer;
  expect(response.headers.get('location')).toBe(`/v1/jobs/${job.job_id}`);
  return job;
}

async function codeOf(response: Response): Promise<[number, string]> {
  return [response.status, ((await response.json()) as { code: string }).code];
}

it('makes a job of a file, and lists it', async () => {
  const job = await accept();
  expect(job).toMatchObject({ state: 'accepted', file_name: 'rows.csv', format: 'csv', finished_at: null });
  expect(await (await api.get(`/v1/jobs/${job.job_id}`)).json()).toEqual(job);
  const { jobs } = (await (await api.get('/v1/jobs')).json()) as { jobs: JobAnswer[] };
  expect(jobs[0]).toEqual(job);
});

it('answers the same key and file with the same job, and refuses another file', async () => {
  const first = await accept({ 'idempotency-key': 'a' });
  expect(await accept({ 'idempotency-key': 'a' })).toEqual(first);
  const other = await api.post(filesPath, csvUpload(client, client), { 'idempotency-key': 'a' });
  expect(await codeOf(other)).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
});

it.each([
  ['JSON', client, 415, 'CONTENT_TYPE_UNSUPPORTED'],
  ['a body without a file', new FormData(), 400, 'FILE_MISSING'],
  ['a file without the columns of the event', csvUpload({ AGE: 30 }), 422, 'FILE_INVALID'],
  ['a file over the limit', csvUpload({ AGE: 'x'.repeat(100_001) }), 413, 'FILE_TOO_LARGE'],
])('refuses %s', async (_name, body, status, code) => {
  expect(await codeOf(await api.post(filesPath, body))).toEqual([status, code]);
});

it('answers 404 for an unknown pipeline, and 503 while the log is unavailable', async () => {
  const unknown = await api.post('/v1/pipelines/nothing/files', csvUpload(client));
  expect(await codeOf(unknown)).toEqual([404, 'PIPELINE_UNKNOWN']);
  api.log.failure = new MillraceError('LOG_TIMEOUT', 'No answer.', { retriable: true });
  expect(await codeOf(await api.post(filesPath, csvUpload(client)))).toEqual([503, 'LOG_TIMEOUT']);
});

it('answers 404 for an unknown job', async () => {
  for (const path of ['', '/events', '/result'])
    expect(await codeOf(await api.get(`/v1/jobs/${randomUUID()}${path}`))).toEqual([404, 'JOB_UNKNOWN']);
});

it('streams the states of a job until it is done', async () => {
  const { job_id: id } = await accept();
  const response = await api.get(`/v1/jobs/${id}/events`);
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  const text = response.text();
  await finishJob(api, id);
  const events = (await text).split('\n').filter((line) => line.startsWith('event: '));
  expect(events.at(-1)).toBe('event: done');
});

it('returns the result of a finished job, and otherwise the reason why there is none', async () => {
  const { job_id: done } = await accept();
  const path = `/v1/jobs/${done}/result`;
  expect(await codeOf(await api.get(path))).toEqual([409, 'JOB_NOT_DONE']);
  await finishJob(api, done);
  expect(await codeOf(await api.get(path))).toEqual([410, 'RESULT_GONE']);
  await writeFile(api.jobs.files.result(done), 'a,b\n');
  const result = await api.get(path);
  expect([result.status, await result.text()]).toEqual([200, 'a,b\n']);
  expect(result.headers.get('content-disposition')).toContain('rows-scored.csv');
  const { job_id: failed } = await accept();
  await finishJob(api, failed, 'failed');
  expect(await codeOf(await api.get(`/v1/jobs/${failed}/result`))).toEqual([409, 'JOB_FAILED']);
});

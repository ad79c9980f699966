import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createApiClient } from '../../cli/api-client.js';
import { score } from '../../cli/score.js';
import { loadConfig } from '../../platform/config.js';
import { packageRoot } from '../../platform/paths.js';
import { fileFormats } from '../../processors/jobs/formats/detect-format.js';
import { FileParser } from '../../processors/jobs/parser/file-parser.js';
import { workbook } from '../../processors/jobs/formats/testing/zip.js';
import { fileForm, type JobAnswer, whenFinished } from './file-jobs.js';
import { startSystem, type TestSystem } from './start.js';

const example = async (name: string): Promise<Record<string, number | string>> =>
  JSON.parse(await readFile(join(packageRoot, 'examples', `${name}.json`), 'utf8')) as Record<
    string,
    number | string
  >;

let system: TestSystem;
let folder: string;
let http: string;
let client: Record<string, number | string>;
let names: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-files-'));
  system = await startSystem({ FILES_DIR: folder, MAX_FILE_BYTES: '200000', REQUEST_TIMEOUT_MS: '20000' });
  http = system.endpoints.http;
  client = await example('credit-default');
  names = Object.keys(client);
});
afterAll(async () => {
  await system.stop();
  await rm(folder, { recursive: true, force: true });
});

const send = (
  content: string | Uint8Array<ArrayBuffer>,
  name: string,
  { pipeline = 'credit-default', headers = {} }: { pipeline?: string; headers?: Record<string, string> } = {},
): Promise<Response> =>
  fetch(`${http}/v1/pipelines/${pipeline}/files`, { method: 'POST', body: fileForm(content, name), headers });

async function scored(
  content: string | Uint8Array<ArrayBuffer>,
  name: string,
): Promise<{ job: JobAnswer; result: string }> {
  const response = await send(content, name);
  expect(response.status).toBe(202);
  const accepted = (await response.json()) as JobAnswer;
  const job = await whenFinished(http, accepted.job_id);
  expect(job.state).toBe('done');
  return { job, result: await (await fetch(http + job.links.result)).text() };
}

const csvOf = (rows: Record<string, unknown>[], columns: string[]): string =>
  [columns, ...rows.map((row) => columns.map((name) => row[name]))]
    .map((cells) => cells.join(','))
    .join('\n');

const uploads = async (): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.startsWith('upload-'));

describe('a job', () => {
  it('opens its file twice: to accept it, and to publish its rows and write the result', async () => {
    const opens = vi.spyOn(FileParser.prototype, 'read');
    onTestFinished(() => opens.mockRestore());
    const cells = [names, names.map((name) => client[name])].map(
      (row) =>
        `<row>${row.map((value) => `<c t="inlineStr"><is><t>${String(value)}</t></is></c>`).join('')}</row>`,
    );
    const { job } = await scored(new Uint8Array(workbook({ rows: cells.join('') })), 'clients.xlsx');
    expect(job.rows).toMatchObject({ total: 1, scored: 1 });
    expect(opens).toHaveBeenCalledTimes(2);
  });

  it('gives each row of a csv the same prediction as predict, in order; bad rows keep their place', async () => {
    const rows = [client, { ...client, AGE: 'old' }, { ...client, LIMIT_BAL: 500_000 }];
    const { job, result } = await scored(
      csvOf(
        rows.map((row, index) => ({ ...row, event_id: `mine-${index}` })),
        ['event_id', ...names],
      ),
      'clients.csv',
    );
    expect(job.rows).toEqual({ total: 3, published: 2, scored: 2, failed: 1 });
    const records: Record<string, string>[] = parse(result, { columns: true });
    const answers = (await Promise.all(
      [rows[0], rows[2]].map(async (row) =>
        (await system.post('/v1/pipelines/credit-default/predict', row)).json(),
      ),
    )) as { score: number; label: string }[];
    expect(
      records.map(({ event_id, prediction, label, error, millrace_event_id }) => [
        event_id,
        Number(prediction),
        label,
        error,
        millrace_event_id,
      ]),
    ).toEqual([
      [
        'mine-0',
        answers[0]?.score,
        answers[0]?.label,
        '',
        expect.stringMatching(/^[\da-f-]{14}8[\da-f-]{13}00000001$/),
      ],
      ['mine-1', 0, '', 'EVENT_INVALID: AGE must be a whole number from 18 to 120', ''],
      ['mine-2', answers[1]?.score, answers[1]?.label, '', expect.stringMatching(/00000003$/)],
    ]);
    const found = await system.get(`/v1/predictions/${records[2]?.['millrace_event_id']}`);
    expect(await found.json()).toMatchObject({ source: 'millrace/file' });
  });

  it('scores lines of JSON', async () => {
    const { result } = await scored(`${JSON.stringify({ ...client, more: [1] })}\n{}\n{`, 'clients.jsonl');
    const [first, second, third] = result
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(first).toMatchObject({
      ...client,
      more: [1],
      prediction: expect.any(Number) as number,
      label: 'no_default',
      error: null,
    });
    expect(second).toMatchObject({
      prediction: null,
      error: expect.stringContaining('LIMIT_BAL is missing') as string,
    });
    expect(third).toMatchObject({ line: '{', error: expect.stringContaining('is no JSON') as string });
  });

  it('reports its progress by server-sent events until it ends, and its result has a safe name', async () => {
    const response = await send(csvOf([client], names), '../..\\ä (x);.csv');
    expect(response.headers.get('location')).toMatch(/^\/v1\/jobs\/[0-9a-f-]{36}$/);
    const job = (await response.json()) as JobAnswer;
    const events = await (await fetch(http + job.links.events)).text();
    expect(events).toMatch(/event: done\ndata: \{"job_id"/);
    const result = await fetch(http + job.links.result);
    expect(result.headers.get('content-disposition')).toBe(
      `attachment; filename="_ (x)_-scored.csv"; filename*=UTF-8''%C3%A4%20%28x%29%3B-scored.csv`,
    );
    const { jobs } = (await (await system.get('/v1/jobs')).json()) as { jobs: JobAnswer[] };
    expect(jobs[0]).toMatchObject({ job_id: job.job_id, state: 'done', file_name: 'ä (x);.csv' });
  });

  it('is the same for the same Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'upload-1' };
    const first = (await (await send(csvOf([client], names), 'a.csv', { headers })).json()) as JobAnswer;
    await whenFinished(http, first.job_id);
    const again = await send(csvOf([client], names), 'b.csv', { headers });
    expect(again.status).toBe(202);
    expect(await again.json()).toMatchObject({
      job_id: first.job_id,
      state: 'done',
      file_name: 'a.csv',
      rows: { total: 1 },
    });
    expect(await uploads()).toEqual([]);
  });

  it('fails with the reason when its file is damaged further down, and writes nothing to the log', async () => {
    const rows = Array.from({ length: 600 }, () => client);
    const job = (await (await send(`${csvOf(rows, names)}\n"1,2`, 'a.csv')).json()) as JobAnswer;
    expect(await whenFinished(http, job.job_id)).toMatchObject({
      state: 'failed',
      rows: { published: 0 },
      error: { code: 'FILE_INVALID', detail: expect.stringContaining('never closed') as string },
    });
    expect((await fetch(http + job.links.result)).status).toBe(409);
  });

  it('runs from the command line', async () => {
    const file = join(folder, 'cli.csv');
    const out = join(folder, 'cli-out.csv');
    await writeFile(file, csvOf([client, client], names));
    await score(await createApiClient(loadConfig({ MILLRACE_URL: http })), file, {
      pipeline: 'credit-default',
      out,
    });
    const records: Record<string, string>[] = parse(await readFile(out, 'utf8'), { columns: true });
    expect(records.map(({ label }) => label)).toEqual(['no_default', 'no_default']);
  });
});

describe('POST /upload', () => {
  it('answers a workbook of cars with a price for each row', async () => {
    const car = await example('car-price');
    const cells = (values: unknown[]): string =>
      `<row>${values.map((value) => `<c t="inlineStr"><is><t>${String(value)}</t></is></c>`).join('')}</row>`;
    const rows = [Object.keys(car), Object.values(car), Object.values({ ...car, kilometers: 'many' })]
      .map(cells)
      .join('');
    const body = fileForm(new Uint8Array(workbook({ rows })), 'cars.xlsx');
    const response = await fetch(`${http}/upload`, { method: 'POST', body });
    expect(response.status).toBe(200);
    const answer = (await response.json()) as JobAnswer;
    const { predicted_price } = (await (await system.post('/predict', car)).json()) as {
      predicted_price: number;
    };
    expect(answer).toMatchObject({
      state: 'done',
      predictions: [
        { row: 1, predicted_price },
        { row: 2, predicted_price: null, error: expect.stringContaining('kilometers') as string },
      ],
    });
    const result = await fetch(http + answer.links.result);
    expect(result.headers.get('content-disposition')).toContain('filename="processed_cars.xlsx"');
    const path = join(folder, 'processed.xlsx');
    await writeFile(path, new Uint8Array(await result.arrayBuffer()));
    const { columns } = await fileFormats.xlsx.open(path);
    expect(columns).toContain('predicted_price');
    expect(columns).not.toContain('prediction');
  });

  it('reports that the files of a repeated job were removed', async () => {
    const car = await example('car-price');
    const upload = (): Promise<Response> =>
      fetch(`${http}/upload`, {
        method: 'POST',
        body: fileForm(csvOf([car], Object.keys(car)), 'cars.csv'),
        headers: { 'idempotency-key': 'cars-1' },
      });
    const { job_id } = (await (await upload()).json()) as JobAnswer;
    await rm(join(folder, job_id), { recursive: true });
    const again = await upload();
    expect(again.status).toBe(410);
    expect(await again.json()).toMatchObject({ code: 'RESULT_GONE' });
  });

  it('refuses as AIMQ does', async () => {
    const response = await fetch(`${http}/upload`, { method: 'POST', body: fileForm('a,b\n1,2', 'a.csv') });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: 'Invalid request body', code: 'FILE_INVALID' });
  });
});

describe('failed uploads leave nothing behind', () => {
  it.each<[string, string | Uint8Array<ArrayBuffer>, string, number, string]>([
    ['a file over the limit', 'x'.repeat(250_000), 'a.csv', 413, 'FILE_TOO_LARGE'],
    ['columns that are missing', 'AGE\n1', 'a.csv', 422, 'FILE_INVALID'],
    ['no format that is read', Buffer.from([0, 1, 2, 3]), 'a.xlsx', 422, 'FILE_INVALID'],
    ['an empty file', '', 'a.csv', 422, 'FILE_INVALID'],
  ])('%s', async (_, content, name, status, code) => {
    const response = await send(content, name);
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([status, code]);
    expect(await uploads()).toEqual([]);
  });

  it.each([
    ['no multipart body', 'application/json', '{}', 415],
    ['no boundary', 'multipart/form-data; x=1', 'x', 400],
    [
      'no field `file`',
      'multipart/form-data; boundary=b',
      '--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
      400,
    ],
    [
      'a body that ends early',
      'multipart/form-data; boundary=b',
      '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nAGE',
      400,
    ],
  ])('%s', async (_, type, body, status) => {
    const response = await system.post('/v1/pipelines/credit-default/files', body, { 'content-type': type });
    expect(response.status).toBe(status);
    expect(await uploads()).toEqual([]);
  });

  it('a client that disconnects', async () => {
    const headers = { 'content-type': 'multipart/form-data; boundary=b', 'content-length': '100000' };
    const upload = request(`${http}/v1/pipelines/credit-default/files`, { method: 'POST', headers });
    upload.on('error', () => undefined);
    upload.write('--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nAGE');
    await expect.poll(uploads).toHaveLength(1);
    upload.destroy();
    await expect.poll(uploads).toEqual([]);
  });

  it('an unknown pipeline or job', async () => {
    expect((await send('x', 'x', { pipeline: 'no-such' })).status).toBe(404);
    for (const path of ['', '/events', '/result']) {
      expect((await system.get(`/v1/jobs/no-such${path}`)).status).toBe(404);
    }
  });
});

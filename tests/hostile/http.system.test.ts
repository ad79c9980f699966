import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { startSystem, type TestSystem } from '../system/start.js';

let system: TestSystem;
let port: number;

const car = JSON.parse(readFileSync(join(packageRoot, 'examples', 'car-price.json'), 'utf8')) as object;

beforeAll(async () => {
  system = await startSystem();
  port = Number(new URL(system.endpoints.http).port);
});

afterAll(async () => {
  await system.stop();
});

/** Sends bytes, and returns the bytes received until the connection ends. */
async function send(request: string, { cut = false } = {}): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await new Promise((resolve) => socket.write(request, 'latin1', resolve));
  if (cut) socket.resetAndDestroy();
  await closed;
  return answer;
}

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);

/** Returns the longest time that a probe waited while `action` ran, milliseconds. */
async function maxProbe(work: Promise<unknown>): Promise<number> {
  const state = { isDone: false };
  void work.finally(() => (state.isDone = true));
  let longest = 0;
  while (!state.isDone) {
    const asked = performance.now();
    expect((await system.get('/health/live')).status).toBe(200);
    longest = Math.max(longest, performance.now() - asked);
  }
  return longest;
}

describe('a body of many small things', () => {
  const tensor = (data: string): string =>
    `{"inputs":[{"name":"color","shape":[1],"datatype":"BYTES","data":[${data}]}]}`;
  const unknownFields = `{${Array.from({ length: 9_000 }, (_, index) => `"k${index}":0`).join(',')}}`;
  it.each([
    ['lines that are no JSON', '/v1/pipelines/car-price/events', 'x\n'.repeat(5_000_000), [413]],
    ['blank lines', '/v1/pipelines/car-price/events', '\n'.repeat(10_000_000), [400]],
    ['as many bad lines as are taken', '/v1/pipelines/car-price/events', 'x\n'.repeat(10_000), [422]],
    ['bad events', '/v1/pipelines/car-price/predict', `[${'{},'.repeat(3_000_000)}{}]`, [413]],
    ['bad events as are taken', '/v1/pipelines/car-price/predict', `[${'{"a":0},'.repeat(9_999)}{}]`, [422]],
    [
      'unknown fields',
      '/v1/pipelines/car-price/predict',
      `[${`${unknownFields},`.repeat(90)}{}]`,
      [413, 422],
    ],
    ['elements of a tensor', '/v2/models/car-price/infer', tensor(`${'[],'.repeat(3_000_000)}[]`), [400]],
    ['tensors', '/v2/models/car-price/infer', `{"inputs":[${'{},'.repeat(3_000_000)}{}]}`, [400]],
    ['members of AIMQ’s car', '/predict', `{${'"a":{},'.repeat(1_300_000)}"b":0}`, [413]],
  ])('%s is refused, and probes are answered meanwhile', async (_what, path, body, statuses) => {
    const headers = {
      'content-type':
        body.startsWith('x') || body.startsWith('\n') ? 'application/x-ndjson' : 'application/json',
    };
    const sent = system.post(path, body, headers);
    const longest = await maxProbe(sent);
    const response = await sent;
    expect(statuses).toContain(response.status);
    expect((await response.text()).length).toBeLessThan(10_000_000);
    // An idle machine takes a tenth of this; a process whose memory fills up takes minutes.
    expect(longest).toBeLessThan(5_000);
  });
});

it('a client that leaves in the middle of its body is no error of the server', async () => {
  const head = (path: string, type: string): string =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: 1000\r\n\r\n`;
  const requests = [
    [head('/v1/pipelines/car-price/predict', 'application/json'), '{"a":'],
    [head('/v1/pipelines/car-price/events', 'application/x-ndjson'), '{"a":'],
    [head('/v2/models/car-price/infer', 'application/json'), '{"a":'],
    [head('/predict', 'application/json'), '{"a":'],
    [head('/v1/pipelines/car-price/files', 'multipart/form-data; boundary=b'), '--b\r\n'],
    [head('/upload', 'multipart/form-data; boundary=b'), '--b\r\n'],
    [head('/v1/models/car-price-a/versions', 'multipart/form-data; boundary=b'), '--b\r\n'],
  ] as const;
  const before = await requestsByStatus();
  for (const [start, body] of requests) await send(start + body, { cut: true });
  await expect
    .poll(async () => (await requestsByStatus()).total - before.total)
    .toBeGreaterThanOrEqual(requests.length);
  expect((await requestsByStatus()).failed).toBe(before.failed);
  const log = readFileSync(join(system.dataDir, 'millrace.log'), 'utf8');
  expect(log).not.toContain('a request failed');
});

/** Counts of `POST` requests. */
async function requestsByStatus(): Promise<{ total: number; failed: number }> {
  const metrics = await (await system.get('/metrics')).text();
  const counts = [
    ...metrics.matchAll(/^millrace_http_request\w*_count\{method="POST".*status="(\d)\d\d".* (\d+)$/gm),
  ];
  const sum = (of: typeof counts): number => of.reduce((total, [, , count]) => total + Number(count), 0);
  return { total: sum(counts), failed: sum(counts.filter(([, status]) => status === '5')) };
}

describe('text that is not UTF-8', () => {
  const body = `{"event_id":"lat-\xe9"}`;
  it.each([
    ['/v1/pipelines/car-price/predict', 'application/json'],
    ['/v1/pipelines/car-price/events', 'application/json'],
    ['/v1/pipelines/car-price/events', 'application/x-ndjson'],
    ['/v2/models/car-price/infer', 'application/json'],
    ['/predict', 'application/json'],
  ])('is refused by %s as %s, with its position', async (path, type) => {
    const request = (contentType: string): string =>
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: ${contentType}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const answer = await send(request(type));
    expect(statusOf(answer)).toBe(400);
    expect(answer).toContain('not UTF-8 at byte 17');
    expect(statusOf(await send(request(`${type}; charset=iso-8859-1`)))).toBe(415);
  });
});

describe('invalid HTTP', () => {
  it.each([
    'GET / HTTP/9.9\r\n\r\n',
    'no http at all\r\n\r\n',
    'GET /v1/pipelines HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n',
  ])('gets a problem: %j', async (request) => {
    const answer = await send(request.replace('HTTP/1.1\r\n\r\n', 'HTTP/1.1\r\nConnection: close\r\n\r\n'));
    expect(statusOf(answer)).toBe(400);
    expect(answer).toContain('application/problem+json');
    expect(answer).toContain('"REQUEST_MALFORMED"');
  });

  it('does not include HTTP/1.0, which old probes speak without a Host', async () => {
    expect(statusOf(await send('GET /health/live HTTP/1.0\r\n\r\n'))).toBe(200);
  });

  it('ends a connection with tens of thousands of requests whose client does not read', async () => {
    const flood = send('GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(60_000));
    expect(await maxProbe(flood)).toBeLessThan(2_000);
  });
});

it('every answer is snake_case', async () => {
  const id = (await (await system.post('/v1/pipelines/car-price/predict', car)).json()) as {
    event_id: string;
  };
  const form = new FormData();
  form.set('file', new Blob([JSON.stringify(car)]), 'cars.jsonl');
  const upload = await fetch(`${system.endpoints.http}/v1/pipelines/car-price/files`, {
    method: 'POST',
    body: form,
  });
  const job = (await upload.json()) as { job_id: string };
  const { paths } = (await (await system.get('/openapi.json')).json()) as { paths: Record<string, object> };
  const bodies: [string, unknown][] = [
    ['files', job],
    ['predict', id],
  ];
  for (const path of Object.keys(paths).filter((each) => 'get' in (paths[each] ?? {}))) {
    const filled = path
      .replace('{eventId}', id.event_id)
      .replace('{jobId}', job.job_id)
      .replace(/\{(?:name|model)\}/, 'credit-default')
      .replace('{version}', '1');
    const response = await system.get(filled);
    if (response.headers.get('content-type')?.includes('json') === true)
      bodies.push([path, await response.json()]);
  }
  expect(bodies.length).toBeGreaterThan(8);
  const camel: string[] = [];
  const walk = (path: string, value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [name, member] of Object.entries(value)) {
      if (/[a-z][A-Z]/.test(name)) camel.push(`${path}.${name}`);
      walk(`${path}.${name}`, member);
    }
  };
  for (const [path, body] of bodies) walk(path, body);
  expect(camel).toEqual([]);
});

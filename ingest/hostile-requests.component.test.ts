import { once } from 'node:events';
import { connect } from 'node:net';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveHttp } from './server.js';
import { Hono } from 'hono';
import { createLogger } from '../platform/logger.js';
import { packageRoot } from '../platform/paths.js';
import { type ServedApp, serveTestApp } from './testing/served-app.js';

let system: ServedApp;
let address: URL;
let folder: string;
let logFile: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-hostile-requests-'));
  logFile = join(folder, 'millrace.log');
  system = await serveTestApp({ REQUEST_TIMEOUT_MS: '3000' }, createLogger('info', logFile));
  address = new URL(system.http);
});

afterAll(async () => {
  await system.stop();
  await rm(folder, { recursive: true });
});

/**
 * Sends bytes unchanged, and resolves with all received bytes until the connection is closed, or an answer is
 * complete.
 */
async function send(text: string, { port = Number(address.port), end = true } = {}): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(text);
  if (end) socket.end();
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
  socket.on('error', () => undefined);
  await once(socket, 'close');
  return answer;
}

const head = (...lines: string[]): string =>
  ['POST /predict HTTP/1.1', 'Host: localhost', ...lines, '', ''].join('\r\n');
const answersOf = (text: string): string[] =>
  [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => status ?? '');

describe('requests that two servers could parse differently', () => {
  const smuggled = 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n';
  it.each([
    ['a length and chunks', head('Content-Length: 6', 'Transfer-Encoding: chunked') + `0\r\n\r\n${smuggled}`],
    ['two lengths', head('Content-Length: 2', 'Content-Length: 40') + `{}${smuggled}`],
    ['an encoding that is not chunked', head('Transfer-Encoding: xchunked') + `0\r\n\r\n${smuggled}`],
    [
      'chunked before another encoding',
      head('Transfer-Encoding: chunked, identity') + `0\r\n\r\n${smuggled}`,
    ],
    ['a name with a space', head('Content-Length : 2') + `{}${smuggled}`],
    ['a header in two lines', head('X-A: b', ' c', 'Transfer-Encoding: chunked') + `0\r\n\r\n${smuggled}`],
    ['a length of +2', head('Content-Length: +2') + `{}${smuggled}`],
    ['a chunk of a strange length', head('Transfer-Encoding: chunked') + `0x2\r\n{}\r\n0\r\n\r\n${smuggled}`],
    ['a bare line feed', `POST /predict HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}${smuggled}`],
    ['no host', `POST /predict HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}${smuggled}`],
  ])('%s: none of it is served', async (_what, request) => {
    const statuses = answersOf(await send(request));
    expect(statuses).not.toContain('200');
    expect(statuses.length).toBeLessThanOrEqual(1);
  });

  it('headers of 20 KB get 431', async () => {
    expect(answersOf(await send(head(`X-Long: ${'a'.repeat(20_000)}`)))).toEqual(['431']);
  });
});

it('a client that never ends its headers is cut off', async () => {
  const server = await serveHttp(new Hono(), '127.0.0.1', 0, { headersTimeoutMs: 200 });
  const answer = await send('GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: a', {
    port: server.port,
    end: false,
  });
  expect(answersOf(answer)).toEqual(['408']);
  await server.stop();
});

it('a client that never ends its body gets 408, and its connection is closed', async () => {
  const slow = head('Content-Type: application/json', 'Content-Length: 1000') + '{"a":';
  expect(answersOf(await send(slow, { end: false }))).toEqual(['408']);
});

describe('web pages', () => {
  it('of other sites may not send requests, nor read the answers', async () => {
    const other = { origin: 'https://site.example', 'content-type': 'text/plain' };
    const response = await system.post('/predict', {}, other);
    expect(response.status).toBe(403);
    const preflight = await fetch(`${address.href}v1/pipelines`, {
      method: 'OPTIONS',
      headers: {
        ...other,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'x-api-key',
      },
    });
    for (const { headers } of [response, preflight])
      expect([...headers.keys()].join()).not.toContain('access-control');
    const rebound = await send('GET /v1/pipelines HTTP/1.1\r\nHost: evil.example\r\n\r\n');
    expect(answersOf(rebound)).toEqual(['403']);
  });

  it('can’t frame, sniff or cache an answer', async () => {
    for (const path of ['/v1/pipelines', '/nothing', '/metrics']) {
      const { headers } = await system.get(path);
      expect(headers.get('x-content-type-options'), path).toBe('nosniff');
      expect(headers.get('content-security-policy'), path).toBe("default-src 'none'; frame-ancestors 'none'");
      expect(headers.get('cache-control'), path).toBe('no-store');
      expect(headers.get('x-powered-by'), path).toBeNull();
    }
    const docs = await system.get('/docs');
    expect(docs.headers.get('content-security-policy')).toMatch(/^default-src 'self'/);
  });
});

describe('content', () => {
  const client = readFileSync(join(packageRoot, 'examples', 'credit-default.json'), 'utf8');
  const predict = '/v1/pipelines/credit-default/predict';

  it('of prototypes is a field like any other, and changes no object', async () => {
    const whole = client.trim().replace(/\}$/, '');
    for (const more of [
      '"__proto__": {"polluted": true}',
      '"constructor": {"prototype": {"polluted": true}}',
      '"toString": 1',
    ]) {
      const response = await system.post(predict, `${whole}, ${more}}`);
      expect(response.status, more).toBe(422);
    }
    for (const path of ['/predict', '/v2/models/credit-default/infer', '/v1/pipelines/credit-default/events'])
      await system.post(
        path,
        '{"__proto__": {"polluted": true}, "inputs": [{"__proto__": {"polluted": true}}]}',
      );
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('that is nested a million times is refused, and the process continues', async () => {
    for (const deep of [
      '['.repeat(1_000_000),
      `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`,
      '{"a":'.repeat(500_000),
    ]) {
      const { status } = await system.post(predict, deep);
      expect([400, 413, 422]).toContain(status);
    }
    expect((await system.get('/health/live')).status).toBe(200);
  });

  it('with line ends and quotes stays content: in headers, logs and SQL', async () => {
    const withId = (id: string): string =>
      JSON.stringify({ ...(JSON.parse(client) as object), event_id: id });
    const forged = await system.post(predict, withId('x\r\nx-injected: yes\n{"level":60,"msg":"forged"}'));
    expect([forged.status, forged.headers.get('x-injected')]).toEqual([422, null]);
    const id = `x'); DROP TABLE millrace.predictions; --"\\`;
    const answer = await system.post(predict, withId(id));
    expect(answer.status).toBe(200);
    const found = await system.get(`/v1/predictions/${encodeURIComponent(id)}`);
    expect(await found.json()).toMatchObject({ event_id: id });
    const unknown = await system.get(`/v1/predictions/${encodeURIComponent("' OR 1 = 1 --")}`);
    expect(unknown.status).toBe(404);
    const log = await readFile(logFile, 'utf8');
    expect(log).not.toMatch(/^\{"level":60/m);
  });

  it('that names other files finds nothing there', async () => {
    for (const path of [
      '/v1/jobs/..%2f..%2f..%2fetc%2fpasswd/result',
      '/v1/jobs/%2e%2e/result',
      '/v1/models/..%2f..%2fpackage.json/versions/1',
      '/v1/models/credit-default/versions/..%2f..%2f..%2fpackage.json',
      '/docs/..%2fpackage.json',
      '/docs/%2e%2e/%2e%2e/package.json',
    ]) {
      const response = await system.get(path);
      expect(response.status, path).toBe(404);
      expect(await response.text(), path).not.toMatch(/root:|"dependencies"/);
    }
    const form = new FormData();
    form.set('file', new Blob([client]), '../../../../tmp/millrace-escaped.jsonl');
    const response = await fetch(`${address.href}v1/pipelines/credit-default/files`, {
      method: 'POST',
      body: form,
    });
    expect(await response.json()).toMatchObject({ file_name: 'millrace-escaped.jsonl' });
    expect(existsSync('/tmp/millrace-escaped.jsonl')).toBe(false);
  });
});

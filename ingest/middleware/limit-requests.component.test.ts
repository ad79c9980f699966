import { Hono } from 'hono';
import { afterEach, expect, it } from 'vitest';
import { createMetrics } from '../../platform/metrics.js';
import { silentLogger } from '../../platform/logger.js';
import { ApiKeys } from '../api-keys/api-keys.js';
import { identifyClient } from './authentication.js';
import { limitRequests, networkOf, takeEvents } from './limit-requests.js';
import { sendProblem } from '../problems.js';
import { RateLimits } from './rate-limits.js';
import { type HttpServer, serveHttp } from '../server.js';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** @returns a function that sends a request with some headers. */
async function serve(perSecond: number, trustProxy = 0) {
  const app = new Hono();
  const limits = new RateLimits({ perSecond, metrics: createMetrics() });
  app.onError((error, c) => sendProblem(c, error));
  app.use(
    identifyClient(new ApiKeys({ keys: ['first', 'second'], pipelines: () => [], logger: silentLogger })),
  );
  app.use(limitRequests(limits, trustProxy));
  app.get('/', (c) => c.json({}));
  app.get('/list/:count', async (c) => {
    await takeEvents(c, Number(c.req.param('count')));
    return c.json({});
  });
  app.get('/v2/models/m', (c) => c.json({}));
  const server: HttpServer = await serveHttp(app, '127.0.0.1', 0);
  stops.push(() => server.stop());
  return (headers: Record<string, string> = {}, path = '/') =>
    fetch(`http://127.0.0.1:${server.port}${path}`, { headers });
}

it('reports the remaining quota, and refuses with the time of a retry', async () => {
  const send = await serve(2);
  const answer = await send();
  expect(answer.headers.get('ratelimit-policy')).toBe('"default";q=2;w=1');
  expect(answer.headers.get('ratelimit')).toBe('"default";r=1;t=1');
  await send();
  const refused = await send();
  expect(refused.status).toBe(429);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('content-type')).toBe('application/problem+json');
  expect(await refused.json()).toMatchObject({
    status: 429,
    code: 'RATE_LIMITED',
    title: 'Too many requests',
  });
  const inference = await send({}, '/v2/models/m');
  expect(await inference.json()).toEqual({ error: expect.any(String), code: 'RATE_LIMITED' });
});

it('counts the events of a list', async () => {
  const send = await serve(100);
  expect((await send({}, '/list/60')).headers.get('ratelimit')).toBe('"default";r=40;t=1');
  expect((await send({}, '/list/439')).headers.get('ratelimit')).toBe('"default";r=0;t=5');
  expect((await send({}, '/list/1')).headers.get('retry-after')).toBe('5');
});

it('identifies clients by valid key, else by address', async () => {
  const send = await serve(1);
  expect((await send({ 'x-api-key': 'first' })).status).toBe(200);
  expect((await send({ authorization: 'Bearer first' })).status).toBe(429);
  expect((await send({ 'x-api-key': 'second' })).status).toBe(200);
  expect((await send({ 'x-api-key': 'guess 1' })).status).toBe(200);
  expect((await send({ 'x-api-key': 'guess 2' })).status).toBe(429);
});

it('trusts X-Forwarded-For up to the number of trusted proxies', async () => {
  const from = (addresses: string) => ({ 'x-forwarded-for': addresses });
  const trusting = await serve(1, 1);
  expect((await trusting(from('203.0.113.1'))).status).toBe(200);
  expect((await trusting(from('203.0.113.2'))).status).toBe(200);
  expect((await trusting(from('198.51.100.7, 203.0.113.2'))).status).toBe(429);
  const wary = await serve(1);
  expect((await wary(from('203.0.113.1'))).status).toBe(200);
  expect((await wary(from('203.0.113.2'))).status).toBe(429);
});

it('treats the addresses of one IPv6 network as one client', () => {
  expect(networkOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
  expect(networkOf('2001:0db8:1:2::9')).toBe('2001:db8:1:2::/64');
  expect(networkOf('2001:db8::1')).toBe('2001:db8:0:0::/64');
  expect(networkOf('fe80::1%eth0')).toBe('fe80:0:0:0::/64');
  expect(networkOf('::1')).toBe('0:0:0:0::/64');
  expect(networkOf('::ffff:192.0.2.1')).toBe('192.0.2.1');
  expect(networkOf('192.0.2.1')).toBe('192.0.2.1');
});

it.each([
  ['203.0.113.8:40001', '203.0.113.8'],
  [' "203.0.113.8:40001" ', '203.0.113.8'],
  ['[2001:db8::1]:40001', '2001:db8:0:0::/64'],
  ['"[2001:db8::2]:40002"', '2001:db8:0:0::/64'],
  ['[2001:db8::3]', '2001:db8:0:0::/64'],
  ['::ffff:cb00:7108', '203.0.113.8'],
  ['[::FFFF:203.0.113.8]:1', '203.0.113.8'],
  ['0:0:0:0:0:ffff:cb00:7108', '203.0.113.8'],
])('identifies the client that a proxy calls %s', (forwarded, client) => {
  expect(networkOf(forwarded)).toBe(client);
});

it.each(['', 'unknown', '_hidden', '203.0.113.8:x', '999.1.1.1', '[::1', 'x'.repeat(10_000)])(
  'ignores invalid addresses, such as %s',
  (forwarded) => {
    expect(networkOf(forwarded)).toBeUndefined();
  },
);

it('counts by connection if a proxy gives no address, or another port each time', async () => {
  const trusting = await serve(1, 1);
  const statuses: number[] = [];
  for (const forwarded of [
    'nobody',
    'somebody else',
    '203.0.113.8:1',
    '203.0.113.8:2',
    '[2001:db8::1]:1',
    '2001:db8::2',
  ])
    statuses.push((await trusting({ 'x-forwarded-for': forwarded })).status);
  expect(statuses).toEqual([200, 429, 200, 429, 200, 429]);
});

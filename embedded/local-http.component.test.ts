import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { refusalOfBrowserRequest } from '../platform/browser-requests.js';
import { serve } from './local-http.js';

describe('refusalOfBrowserRequest', () => {
  test.each([
    [{ host: 'localhost:8123' }],
    [{ host: '127.0.0.1:8123' }],
    [{ host: '[::1]:8123' }],
    [{}],
    [{ host: 'localhost:8123', origin: 'http://localhost:8123', 'sec-fetch-site': 'same-origin' }],
    [{ host: 'localhost:8123', origin: 'http://127.0.0.1:8123', 'sec-fetch-site': 'cross-site' }],
    [{ host: '[::1]:8123', origin: 'http://localhost:8123' }],
    [{ host: 'localhost:8123', 'sec-fetch-site': 'none' }],
  ])('accepts %o', (headers) => {
    expect(refusalOfBrowserRequest(headers, '127.0.0.1')).toBeUndefined();
  });

  test.each([
    [{ host: 'rebound.example:8123' }],
    [{ host: '127.0.0.1.example:8123' }],
    [{ host: 'localhost:8123', origin: 'https://site.example' }],
    [{ host: 'localhost:8123', origin: 'null' }],
    [{ host: 'localhost:8123', origin: 'http://localhost:3000', 'sec-fetch-site': 'same-site' }],
    [{ host: '127.0.0.1:8123', origin: 'http://[::1]:8080' }],
    [{ host: '127.0.0.1:8123', 'sec-fetch-site': 'same-site' }],
    [{ host: 'localhost:8123', 'sec-fetch-site': 'cross-site' }],
  ])('refuses %o', (headers) => {
    expect(refusalOfBrowserRequest(headers, '127.0.0.1')).toBeDefined();
  });

  test('accepts any name when it listens on all addresses, but no other site', () => {
    expect(refusalOfBrowserRequest({ host: 'box.lan:8123' }, '0.0.0.0')).toBeUndefined();
    expect(
      refusalOfBrowserRequest({ host: 'box.lan', origin: 'https://site.example' }, '0.0.0.0'),
    ).toBeDefined();
  });
});

test('a port in use is an error that names the port and the setting', async () => {
  const first = await serve(createServer(), { host: '127.0.0.1', port: 0, name: 'first', setting: 'A_PORT' });
  const second = serve(createServer(), {
    host: '127.0.0.1',
    port: first.port,
    name: 'second',
    setting: 'B_PORT',
  });
  await expect(second).rejects.toMatchObject({
    code: 'PORT_IN_USE',
    message: expect.stringMatching(new RegExp(`Port ${first.port} .* set B_PORT`)),
  });
  await first.stop();
});

test('stop waits for a running request, and not for its connection to time out', async () => {
  const server = createServer({ keepAliveTimeout: 60_000 });
  const running = await serve(server, { host: '127.0.0.1', port: 0, name: 'server', setting: 'PORT' });
  const arrived = once(server, 'request');
  const answer = fetch(`http://127.0.0.1:${running.port}/`);
  const [, response]: ServerResponse[] = await arrived;
  const stopped = running.stop();
  response?.end('done');
  expect(await (await answer).text()).toBe('done');
  await stopped;
});

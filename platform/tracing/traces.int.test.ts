import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { loadConfig } from '../config.js';
import { silentLogger } from '../logger.js';
import { keepSecret } from '../secrets.js';
import { startTraces, traces } from './traces.js';

const require = createRequire(import.meta.url);

/** Of the SDK: the test runner has the API. */
function loadedPackages(): string[] {
  return Object.keys(require.cache).filter((path) => path.includes('/@opentelemetry/sdk-trace'));
}

afterEach(() => vi.unstubAllEnvs());

test.each([{}, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_SDK_DISABLED: 'true' }])(
  'with %o the SDK is not even loaded',
  async (settings) => {
    await Promise.all([import('../../app/up.js'), import('../../app/run-role.js')]);
    const { stop } = await startTraces(loadConfig(settings), silentLogger);
    expect(traces()).toBeUndefined();
    expect(loadedPackages()).toEqual([]);
    await stop();
  },
);

test('with an endpoint they are on, until they are stopped', async () => {
  const endpoint = 'http://127.0.0.1:9';
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', endpoint);
  const config = loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
  const { stop } = await startTraces(config, silentLogger, 'serve');
  expect(loadedPackages()).not.toEqual([]);
  const work = traces()?.begin('test', {});
  expect(work?.headers.traceparent).toBe(`00-${work?.traceId}-${work?.headers.traceparent.slice(36, 52)}-01`);
  work?.end();
  await stop();
  expect(traces()).toBeUndefined();
});

test('a secret in an error does not leave with its span', async () => {
  const received: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on('data', (part: Buffer) => received.push(part)).on('end', () => response.end('{}'));
  });
  await once(collector.listen(0, '127.0.0.1'), 'listening');
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', endpoint);
  const { stop } = await startTraces(loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }), silentLogger);
  keepSecret('a canary');
  traces()?.begin('test', {}).end(new Error('refused: the password is a canary'));
  await stop();
  collector.close();
  const sent = Buffer.concat(received).toString();
  expect(sent).toContain('refused: the password is');
  expect(sent).not.toContain('a canary');
});

test('a protocol that is not spoken is said at the start, where traces are on', () => {
  const grpc = { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' };
  expect(() => loadConfig({ ...grpc, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4317' })).toThrow(/4318/);
  expect(() => loadConfig(grpc)).not.toThrow();
});

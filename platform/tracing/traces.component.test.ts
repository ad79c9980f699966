import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { expect, test, vi } from 'vitest';
import { loadConfig } from '../config.js';
import { silentLogger } from '../logger.js';
import { keepSecret } from '../secrets.js';
import { endSpan, sendEvents } from './spans.js';
import { headersOf } from './trace-headers.js';
import { isTracing, startTraces, tracer } from './traces.js';

const require = createRequire(import.meta.url);

/** Of the SDK: the test runner has the API. */
function loadedPackages(): string[] {
  return Object.keys(require.cache).filter((path) => path.includes('/@opentelemetry/sdk-trace'));
}

test.each([{}, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_SDK_DISABLED: 'true' }])(
  'with %o the SDK is not even loaded',
  async (settings) => {
    await Promise.all([import('../../app/up.js'), import('../../app/run-role.js')]);
    const { stop } = await startTraces(loadConfig(settings), silentLogger);
    expect(isTracing()).toBe(false);
    expect(tracer().startSpan('test').isRecording()).toBe(false);
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
  expect(isTracing()).toBe(true);
  const span = tracer().startSpan('test', { root: true });
  const { traceId, spanId } = span.spanContext();
  expect(headersOf(span.spanContext())).toEqual({ traceparent: `00-${traceId}-${spanId}-01` });
  span.end();
  await stop();
  expect(isTracing()).toBe(false);
  expect(tracer().startSpan('test').isRecording()).toBe(false);
});

test('events of a span after the first hundred keep its trace, but are not recorded', async () => {
  const endpoint = 'http://127.0.0.1:9';
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', endpoint);
  const records = Array.from({ length: 60 }, () => ({
    headers: { traceparent: 'of the caller', kept: 'kept' },
  }));
  const off = tracer().startSpan('test', { root: true });
  await sendEvents(off, 'topic', records, () => Promise.resolve());
  expect(records[0]?.headers.traceparent).toBe('of the caller');

  const { stop } = await startTraces(loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }), silentLogger);
  const span = tracer().startSpan('test', { root: true });
  const { traceId } = span.spanContext();
  const flags: string[] = [];
  for (let batch = 0; batch < 3; batch++) {
    await sendEvents(span, 'topic', records, () => Promise.resolve());
    for (const { headers } of records) {
      expect(headers).toMatchObject({
        kept: 'kept',
        traceparent: expect.stringContaining(traceId) as unknown,
      });
      flags.push(headers.traceparent.slice(-2));
    }
  }
  expect(flags).toEqual([...Array<string>(100).fill('01'), ...Array<string>(80).fill('00')]);
  await stop();
});

test('a secret in an error is not exported with its span', async () => {
  const received: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on('data', (part: Buffer) => received.push(part)).on('end', () => response.end('{}'));
  });
  await once(collector.listen(0, '127.0.0.1'), 'listening');
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', endpoint);
  const { stop } = await startTraces(loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }), silentLogger);
  keepSecret('a canary');
  endSpan(tracer().startSpan('test'), new Error('refused: the password is a canary'));
  await stop();
  collector.close();
  const sent = Buffer.concat(received).toString();
  expect(sent).toContain('refused: the password is');
  expect(sent).not.toContain('a canary');
});

test('an unsupported protocol is reported at the start, if traces are on', () => {
  const grpc = { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' };
  expect(() => loadConfig({ ...grpc, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4317' })).toThrow(/4318/);
  expect(() => loadConfig(grpc)).not.toThrow();
});

import { expect, test } from 'vitest';
import { traceHeadersOf } from '../platform/tracing/trace-headers.js';
import { cloudEventAttribute, cloudEventHeaders } from './cloud-events.js';

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const trace = { traceparent, tracestate: 'vendor=1,other=2' };
const event = { id: 'e1', source: '/http', type: 'credit-default.event', time: '2026-01-02T03:04:05Z' };

function buffers(headers: Record<string, string>): Record<string, Buffer> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]));
}

test('attributes become ce_ headers, the trace keeps its own name', () => {
  expect(cloudEventHeaders({ ...event, trace })).toEqual({
    ce_specversion: '1.0',
    ce_id: 'e1',
    ce_source: '/http',
    ce_type: 'credit-default.event',
    ce_time: '2026-01-02T03:04:05Z',
    ...trace,
  });
  expect(cloudEventHeaders(event)).not.toHaveProperty('traceparent');
});

test('written attributes are read back', () => {
  const headers = buffers(cloudEventHeaders({ ...event, trace }));
  for (const name of ['id', 'source', 'type', 'time'] as const)
    expect(cloudEventAttribute(headers, name)).toBe(event[name]);
  expect(traceHeadersOf(headers)).toEqual(trace);
});

test('missing, empty and invalid attributes are left out', () => {
  expect(cloudEventAttribute({}, 'id')).toBeUndefined();
  expect(cloudEventAttribute(buffers({ ce_id: '' }), 'id')).toBeUndefined();
  expect(traceHeadersOf({})).toBeUndefined();
  expect(traceHeadersOf(buffers({ traceparent: 'nonsense', tracestate: 'vendor=1' }))).toBeUndefined();
  expect(traceHeadersOf(buffers({ traceparent, tracestate: '' }))).toEqual({ traceparent });
});

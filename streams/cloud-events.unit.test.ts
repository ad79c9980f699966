import { expect, test } from 'vitest';
import { cloudEventAttribute, cloudEventHeaders, isTraceparent, traceparentOf } from './cloud-events.js';

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const event = { id: 'e1', source: '/http', type: 'credit-default.event', time: '2026-01-02T03:04:05Z' };

function buffers(headers: Record<string, string>): Record<string, Buffer> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]));
}

test('attributes travel as ce_ headers, the trace under its own name', () => {
  expect(cloudEventHeaders({ ...event, traceparent })).toEqual({
    ce_specversion: '1.0',
    ce_id: 'e1',
    ce_source: '/http',
    ce_type: 'credit-default.event',
    ce_time: '2026-01-02T03:04:05Z',
    traceparent,
  });
  expect(cloudEventHeaders(event)).not.toHaveProperty('traceparent');
});

test('what was written is read', () => {
  const headers = buffers(cloudEventHeaders({ ...event, traceparent }));
  for (const name of ['id', 'source', 'type', 'time'] as const)
    expect(cloudEventAttribute(headers, name)).toBe(event[name]);
  expect(traceparentOf(headers)).toBe(traceparent);
});

test('whatever is missing, empty or invalid is left out', () => {
  expect(cloudEventAttribute({}, 'id')).toBeUndefined();
  expect(cloudEventAttribute(buffers({ ce_id: '' }), 'id')).toBeUndefined();
  expect(traceparentOf({})).toBeUndefined();
  expect(traceparentOf(buffers({ traceparent: 'nonsense' }))).toBeUndefined();
});

test.each([
  [traceparent, true],
  [`01${traceparent.slice(2)}-later`, true],
  [`${traceparent}-more`, false],
  [`ff${traceparent.slice(2)}`, false],
  [`00-${'0'.repeat(32)}-00f067aa0ba902b7-01`, false],
  [`00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`, false],
  [traceparent.toUpperCase(), false],
])('traceparent %s: %s', (value, valid) => {
  expect(isTraceparent(value)).toBe(valid);
});

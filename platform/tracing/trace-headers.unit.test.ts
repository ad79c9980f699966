import { expect, test } from 'vitest';
import { isSampled, isTraceparent, toTraceHeaders } from './trace-headers.js';

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

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

test.each([
  ['vendor=1,other=2', 'vendor=1,other=2'],
  ['', undefined],
  ['x'.repeat(513), undefined],
  ['vendor=1\n', undefined],
  [7, undefined],
])('tracestate %j is kept as %j', (given, kept) => {
  expect(toTraceHeaders(traceparent, given)?.tracestate).toBe(kept);
});

test.each([
  ['00', false],
  ['01', true],
  ['0a', false],
  ['0b', true],
  ['03', true],
])('flags %s: recorded %s', (flags, sampled) => {
  const flagged = traceparent.slice(0, -2) + flags;
  expect(isSampled(flagged)).toBe(sampled);
  expect(isSampled(Buffer.from(flagged))).toBe(sampled);
});

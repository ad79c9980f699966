import { expect, it } from 'vitest';
import { time } from './options.js';

const now = Date.UTC(2026, 0, 31, 12);

it.each([
  ['90s', '2026-01-31T11:58:30.000Z'],
  ['30m', '2026-01-31T11:30:00.000Z'],
  ['2h', '2026-01-31T10:00:00.000Z'],
  ['7d', '2026-01-24T12:00:00.000Z'],
  ['2026-01-30', '2026-01-30T00:00:00.000Z'],
  ['2026-01-30T12:00:00+01:00', '2026-01-30T11:00:00.000Z'],
])('parses %s as %s', (text, expected) => {
  expect(new Date(time(text, undefined, now)).toISOString()).toBe(expected);
});

it.each(['', 'yesterday', '2', '2w', '-2h', '2026-01-30T12:00:00', '2026-13-01'])('rejects %j', (text) => {
  expect(() => time(text, undefined, now)).toThrow(/age/);
});

import { expect, it } from 'vitest';
import { matchesPattern } from './topic-pattern.js';

it.each([
  ['#', 'a.b.c', true],
  ['a.#', 'a.b.c', true],
  ['a.b.c.#', 'a.b.c', true],
  ['a.*.c', 'a.b.c', true],
  ['#.c', 'a.b.c', true],
  ['a.#.b.#.c', 'a.b.c', true],
  ['*.*.*', 'a.b.c', true],
  ['*', 'a.b.c', false],
  ['a.*', 'a.b.c', false],
  ['a.b.c.*', 'a.b.c', false],
  ['', 'a.b.c', false],
])('the pattern %j lets %s through: %s', (pattern, key, expected) => {
  expect(matchesPattern(pattern, key)).toBe(expected);
});

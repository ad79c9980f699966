import { expect, it } from 'vitest';
import { labelOf } from './threshold.js';

const output = { name: 'p', dtype: 'float64' as const, meaning: 'probability' };
const decision = { threshold: 0.25, at_or_above: 'default', below: 'no default' };

it.each([
  [0.249, 'no default'],
  [0.25, 'default'],
  [1, 'default'],
])('a score of %d is labelled %s', (score, label) => {
  expect(labelOf({ ...output, decision }, score)).toBe(label);
});

it('a model that does not classify has no label', () => {
  expect(labelOf(output, 1)).toBeNull();
});

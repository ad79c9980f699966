import { describe, expect, it } from 'vitest';
import type { MainOutput } from './manifest.js';
import { implausible } from './plausibility.js';

const number: MainOutput = { name: 'y', dtype: 'float32' };
const decided = (threshold: number): MainOutput => ({
  ...number,
  decision: { threshold, below: 'no', at_or_above: 'yes' },
});
const classes: MainOutput = { ...number, classes: ['a', 'b'] };
const answer = (score: number) => ({ score, label: null, outputs: { y: score } });
const shares = (a: number, b: number) => ({ score: a, label: 'a', outputs: { y: { a, b } } });

describe('implausible', () => {
  it.each([
    [{ ...number, scale: 'probability' as const }, 997.2, /score 997\.2, but y is a probability/],
    [decided(0.5), -0.1, /score -0\.1/],
    [decided(0.5), 1.001, /score 1\.001/],
  ])('finds what is no probability', (output, score, message) => {
    expect(implausible(output, answer(score))).toMatch(message);
  });

  it.each([
    [number, 997],
    [decided(0.5), 1 + 1e-6],
    [decided(12), 40],
    [decided(1), 40],
    [{ ...decided(0.5), scale: 'number' as const }, -3],
  ])('leaves other scores', (output, score) => {
    expect(implausible(output, answer(score))).toBeUndefined();
  });

  it('checks the probabilities of classes and their sum', () => {
    expect(implausible(classes, shares(0.3, 0.7005))).toBeUndefined();
    expect(implausible(classes, shares(0.3, 0.3))).toMatch(/add up to 0\.6 instead of 1/);
    expect(implausible(classes, shares(1.5, -0.5))).toMatch(/gets 1\.5 for a class/);
    expect(implausible({ ...classes, scale: 'number' }, shares(3, 4))).toBeUndefined();
  });
});

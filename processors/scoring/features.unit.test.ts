import { describe, expect, it } from 'vitest';
import type { ModelInput } from '../../models/manifest.js';
import { FeatureEncoder } from './features.js';
const input = (name: string, more: Partial<ModelInput> = {}): ModelInput => ({
  name,
  dtype: 'float32',
  meaning: name,
  ...more,
});

const encoder = new FeatureEncoder([
  input('miles'),
  input('fuel', { encoding: { Diesel: 0, 'Semi Auto': 2 } }),
  input('pair', { encoding: { '8-32': 9.5 }, unknown: 11 }),
]);

describe('FeatureEncoder', () => {
  it('passes numbers through and converts texts to numbers', () => {
    expect(encoder.encode([1.5, 'Diesel', '8-32'])).toEqual([1.5, 0, 9.5]);
    expect(encoder.encode([1.5, 7, 8])).toEqual([1.5, 7, 8]);
  });

  it('ignores case and the spaces around a text', () => {
    expect(encoder.encode([0, ' semi auto ', '8-32'])).toEqual([0, 2, 9.5]);
  });

  it('gives an unknown text the code for unknown texts', () => {
    expect(encoder.encode([0, 'Diesel', '8-77'])).toEqual([0, 0, 11]);
    expect(encoder.encode([0, 'Diesel', ''])).toEqual([0, 0, 11]);
    expect(encoder.encode([0, 'Diesel', 'constructor'])).toEqual([0, 0, 11]);
  });

  it.each([
    ['an unknown text without a code for such', [0, 'Coal', '8-32'], /fuel is 'Coal'/],
    ['a text where a number belongs', ['far', 'Diesel', '8-32'], /miles is 'far'/],
    ['a number that fits no 32-bit float', [1e300, 'Diesel', '8-32'], /miles is 1e\+300: .*32-bit/],
    ['NaN', [Number.NaN, 'Diesel', '8-32'], /miles is NaN/],
    ['too few features', [0], /made 1 features; its model takes 3/],
  ])('refuses %s', (_, features, message) => {
    expect(encoder.encode(features)).toMatchObject({
      code: 'FEATURES_INVALID',
      message: expect.stringMatching(message),
    });
  });
});

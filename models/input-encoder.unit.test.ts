import { describe, expect, it } from 'vitest';
import { type Feature, InputEncoder } from './input-encoder.js';
import type { ModelInput } from './manifest.js';
import { MillraceError } from '../platform/errors.js';

const input = (name: string, more: Partial<ModelInput> = {}): ModelInput => ({
  name,
  dtype: 'float32',
  meaning: name,
  ...more,
});

const encoder = new InputEncoder([
  input('miles'),
  input('fuel', { encoding: { Diesel: 0, 'Semi Auto': 2 } }),
  input('pair', { encoding: { '8-32': 9.5 }, unknown: 11 }),
]);

describe('InputEncoder', () => {
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
    ['NaN', [Number.NaN, 'Diesel', '8-32'], /miles is NaN: a missing value/],
    ['null', [null, 'Diesel', '8-32'], /miles is null: a missing value/],
    ['a list for a scalar', [[1], 'Diesel', '8-32'], /miles is a list; its model takes a single number/],
    ['too few features', [0], /made 1 features; its model takes 3/],
  ] satisfies [string, Feature[], RegExp][])('refuses %s', (_, features, message) => {
    expect(encoder.encode(features)).toMatchObject({
      code: 'FEATURES_INVALID',
      message: expect.stringMatching(message),
    });
  });
});

/** What one input makes of a feature: its value, or the message of the error. */
function encodeOne(dtype: ModelInput['dtype'], feature: Feature, more: Partial<ModelInput> = {}): unknown {
  const row = new InputEncoder([input('x', { dtype, ...more })]).encode([feature]);
  return row instanceof MillraceError ? row.message : row[0];
}

describe('dtypes', () => {
  it.each([
    ['float64', 0.1, 0.1],
    ['float32', true, 1],
    ['float16', -65_519, -65_519],
    ['int64', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ['int8', -128, -128],
    ['uint8', 255, 255],
    ['bool', true, true],
    ['bool', 0, false],
    ['string', 'Diesel', 'Diesel'],
    ['string', '', ''],
  ] as const)('%s takes %s', (dtype, feature, expected) => {
    expect(encodeOne(dtype, feature)).toBe(expected);
  });

  it.each([
    ['float64', Infinity, 'Feature x is Infinity: not a finite number.'],
    ['float16', 65_520, 'Feature x is 65520: not a finite 16-bit float.'],
    ['int64', 2 ** 53, 'Feature x is 9007199254740992: not a whole number within ±(2^53 - 1).'],
    ['int64', 1.5, /not a whole number/],
    ['int32', 2 ** 31, /not a whole number that fits 32 bits/],
    ['int16', 40_000, /from -32768 to 32767/],
    ['int8', 128, /from -128 to 127/],
    ['uint8', -1, /from 0 to 255/],
    ['uint16', 65_536, /from 0 to 65535/],
    ['uint32', 2 ** 32, /from 0 to 4294967295/],
    ['uint64', -1, /from 0 to 2\^53 - 1/],
    ['bool', 2, 'Feature x is 2; its model takes true or false.'],
    ['bool', 'true', /takes true or false/],
    ['string', 3, 'Feature x is 3; its model takes text.'],
    ['float32', '3', "Feature x is '3'; its model takes a number (float32)."],
  ] as const)('%s does not take %s', (dtype, feature, message) => {
    expect(encodeOne(dtype, feature)).toEqual(
      typeof message === 'string' ? message : expect.stringMatching(message),
    );
  });

  it('uses the type of a common input tensor', () => {
    const runtime = { format: 'onnx' as const, opsets: {}, input_tensor: 'x', output_tensor: 'y' };
    const wide = new InputEncoder([input('x')], { ...runtime, input_dtype: 'float64' });
    expect(wide.encode([1e300])).toEqual([1e300]);
  });
});

describe('missing values', () => {
  it.each([null, undefined, Number.NaN])('%s becomes what the input says', (feature) => {
    expect(encodeOne('float32', feature, { missing: 'nan' })).toBeNaN();
    expect(encodeOne('float32', feature, { missing: -1 })).toBe(-1);
    expect(encodeOne('string', feature, { missing: 'none' })).toBe('none');
    expect(encodeOne('bool', feature, { missing: false })).toBe(false);
    expect(encodeOne('float32', feature, { missing: 'Other', encoding: { Other: 7 } })).toBe(7);
    expect(encodeOne('float32', feature, { missing: 'refuse' })).toMatch(/a missing value/);
  });

  it('are so among the elements of a list too', () => {
    const list = { shape: [3], missing: 0 };
    expect(encodeOne('int32', [1, null, 3], list)).toEqual([1, 0, 3]);
    expect(encodeOne('int32', null, list)).toEqual([0, 0, 0]);
    expect(encodeOne('int32', [1, null, 3], { shape: [3] })).toMatch(/x\[1\] is null/);
  });
});

describe('shapes', () => {
  it('takes a flat list, or one nested as the shape', () => {
    const shape = [2, 3];
    const flat = [1, 2, 3, 4, 5, 6];
    expect(encodeOne('float32', flat, { shape })).toEqual(flat);
    expect(encodeOne('float32', [flat.slice(0, 3), flat.slice(3)], { shape })).toEqual(flat);
    expect(encodeOne('float32', [flat], { shape: [1, 6] })).toEqual(flat);
    expect(encodeOne('string', ['a'], { shape: [1] })).toEqual(['a']);
  });

  it.each([
    [[1, 2], 'x is a list of 2; its model takes a list of the shape [2, 3]'],
    [
      [
        [1, 2],
        [3, 4, 5, 6],
      ],
      'x is a nested list of another shape',
    ],
    [5, 'x is 5; its model takes a list'],
    ['text', "x is 'text'; its model takes a list"],
    [[1, 2, 3, 4, 5, 1e39], 'x[5] is 1e+39: not a finite 32-bit float'],
  ])('refuses %j', (feature, message) => {
    expect(encodeOne('float32', feature, { shape: [2, 3] })).toEqual(expect.stringContaining(message));
  });
});

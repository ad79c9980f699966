import { describe, expect, it } from 'vitest';
import { fromFloat16, toFloat16 } from './float16.js';

describe('float16', () => {
  it.each([
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [0.333251953125, 0x3555],
    [65_504, 0x7bff],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [Infinity, 0x7c00],
    [-Infinity, 0xfc00],
    [Number.NaN, 0x7e00],
  ])('encodes and decodes %s', (value, encoded) => {
    expect(toFloat16(value)).toBe(encoded);
    expect(fromFloat16(encoded)).toBe(value);
  });

  it('rounds to the nearest number, ties to even', () => {
    expect(fromFloat16(toFloat16(0.1))).toBe(0.0999755859375);
    expect(toFloat16(2049)).toBe(toFloat16(2048));
    expect(toFloat16(2051)).toBe(toFloat16(2052));
    expect(fromFloat16(toFloat16(65_519.99))).toBe(65_504);
    expect(fromFloat16(toFloat16(65_520))).toBe(Infinity);
    expect(fromFloat16(toFloat16(1e300))).toBe(Infinity);
    expect(fromFloat16(toFloat16(0.999_999_999))).toBe(1);
  });

  it('returns each of its numbers unchanged', () => {
    const all = Array.from({ length: 0x1_0000 }, (_, encoded) => encoded);
    const numbers = all.filter((encoded) => !Number.isNaN(fromFloat16(encoded)));
    expect(numbers).toHaveLength(0x1_0000 - 2 * 1023);
    expect(numbers.filter((encoded) => toFloat16(fromFloat16(encoded)) !== encoded)).toEqual([]);
  });
});

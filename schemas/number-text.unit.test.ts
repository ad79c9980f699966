import { expect, it } from 'vitest';
import { isAmbiguousNumber, numberHint } from './number-text.js';

it.each(['90.000', '-1.234', '+61.000', ' 900.500 '])('%j is ambiguous', (text) => {
  expect(isAmbiguousNumber(text)).toBe(true);
  expect(numberHint(text)).toMatch(/may be [+-]?\d+ or -?[\d.]+: write/);
});

it.each(['90.00', '0.125', '1234.567', '90.0000', '90000', '1.234.567', '9e.000', ''])(
  '%j is not',
  (text) => {
    expect(isAmbiguousNumber(text)).toBe(false);
  },
);

it('shows numbers as other countries write them, and how to write them', () => {
  expect(numberHint('90.000')).toBe(", and is '90.000', which may be 90000 or 90: write 90000 or 90.0");
  for (const text of ['90.000,00', '1,5', '1 000', "1'000", '1.234.567', '90,000.00'])
    expect(numberHint(text)).toContain(`is '${text}': write it with a point`);
  for (const text of ['12', '1.5', 'many', '', '0x10', '--1', 7, null]) expect(numberHint(text)).toBe('');
});

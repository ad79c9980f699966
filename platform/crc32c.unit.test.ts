import { expect, test } from 'vitest';
import { crc32c } from './crc32c.js';

test('the published check value', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});

test('all lengths around the eight-byte step agree with the bit-by-bit definition', () => {
  const bytes = Buffer.from(Array.from({ length: 67 }, (_, i) => (i * 37 + 11) & 0xff));
  for (const start of [0, 1, 5]) {
    for (let end = start; end <= bytes.length; end++) {
      expect(crc32c(bytes, start, end)).toBe(bitByBit(bytes.subarray(start, end)));
    }
  }
});

test('a view into a larger buffer starts at its own beginning', () => {
  const whole = Buffer.from('xxx123456789yyy');
  expect(crc32c(whole.subarray(3, 12))).toBe(0xe3069283);
  expect(crc32c(whole, 3, 12)).toBe(0xe3069283);
});

function bitByBit(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f63b78);
  }
  return ~crc >>> 0;
}

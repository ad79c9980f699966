import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { compressFrameSync } from 'lz4-napi';
import snappy from 'snappyjs';
import { describe, expect, test } from 'vitest';
import { decompress } from './batch-compression.js';

const text = Buffer.from('Millrace scores events while they stream. '.repeat(40));
const xerial = Buffer.from('82534e4150505900000000010000000100000000', 'hex');
const snapped = snappy.compress(text);
xerial.writeInt32BE(snapped.length, 16);

/** 1 MiB of zeros, as `zstd -19 --single-thread` makes it. */
const zstdZeros = Buffer.from(
  'KLUv/QBoTAAACAABAPz/ORACAgAQAAIAEAACABAAAgAQAAIAEAACABAAAgAQAAEAAA==',
  'base64',
);
const samples: [string, number, Buffer, Buffer][] = [
  ['none', 0, text, text],
  ['gzip', 1, gzipSync(text), text],
  ['snappy', 2, snapped, text],
  ['snappy as Java frames it', 2, Buffer.concat([xerial, snapped]), text],
  ['LZ4', 3, compressFrameSync(text), text],
  [
    'zstd',
    4,
    Buffer.from(
      'KLUv/WCQBZ0BAKQCTWlsbHJhY2Ugc2NvcmVzIGV2ZW50cyB3aGlsZSB0aGV5IHN0cmVhbS4gAQAas/2qDA==',
      'base64',
    ),
    text,
  ],
];

describe.each(samples)('%s', (_name, codec, compressed, expected) => {
  test('is read', () => {
    expect(decompress(codec, compressed)).toEqual(expected);
  });

  test('damage causes an error or other bytes, never a crash, a hang or more than the limit', () => {
    fc.assert(
      fc.property(
        fc.nat(compressed.length - 1),
        fc.nat(255),
        fc.nat(compressed.length),
        (at, byte, length) => {
          const damaged = Buffer.from(compressed.subarray(0, length));
          if (at < length) damaged[at] = byte;
          expect(bytesOrError(codec, damaged, 10_000)).toBeLessThanOrEqual(10_000);
        },
      ),
      { numRuns: 500, seed: 1 },
    );
  });
});

test('a small batch that would grow without limit is refused', () => {
  const zeros = Buffer.alloc(8 * 1024 * 1024);
  const limit = 1024 * 1024;
  const bombs: [number, Buffer, number][] = [
    [1, gzipSync(zeros), limit],
    [2, snappy.compress(zeros), limit],
    [3, compressFrameSync(zeros), limit],
    [4, zstdZeros, limit - 1],
  ];
  for (const [codec, bomb, most] of bombs) {
    expect(bomb.length).toBeLessThan(limit);
    expect(() => decompress(codec, bomb, most)).toThrow(/large|length|buffer/i);
  }
});

/** Returns the number of decompressed bytes; 0 when they are refused. */
function bytesOrError(codec: number, bytes: Buffer, limit: number): number {
  try {
    return decompress(codec, bytes, limit).length;
  } catch {
    return 0;
  }
}

import { createRequire } from 'node:module';
import { gunzipSync } from 'node:zlib';
import { Decompress as Unzstd } from 'fzstd';
import type * as lz4Napi from 'lz4-napi';
import snappy from 'snappyjs';

const require = createRequire(import.meta.url);

/** Maximum decompressed size of a batch, whatever it declares. */
const maxDecompressedBytes = 64 * 1024 * 1024;

/**
 * Maximum records of a batch. Clients make batches of some 10,000 (librdkafka) or of 16 KiB (Java) by
 * default; 92 KB of gzip can contain 9,000,000, each of which would become objects, and 1 MB of empty ones
 * 700,000 dead letters.
 */
export const maxBatchRecords = 300_000;
/**
 * Maximum headers of all records of a batch together: an empty one takes two bytes, and becomes an object as
 * well.
 */
export const maxBatchHeaders = 2_000_000;

/**
 * Decompresses the records of a batch, at most `maxBytes`. `codec` is from the batch's attributes: 0 none, 1
 * gzip, 2 snappy, 3 LZ4, 4 zstd. Throws when the bytes are invalid, or too many.
 */
export function decompress(codec: number, bytes: Buffer, maxBytes = maxDecompressedBytes): Buffer {
  if (codec === 0) return bytes;
  if (codec === 1) return gunzipSync(bytes, { maxOutputLength: maxBytes });
  if (codec === 2) return unsnappy(bytes, maxBytes);
  if (codec === 3) return unlz4(bytes, maxBytes);
  if (codec === 4) return unzstd(bytes, maxBytes);
  throw new RangeError(`there is no codec ${codec}`);
}

/**
 * Java's clients put snappy into the frame of xerial's snappy-java: a header, then blocks, each after its
 * length.
 */
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const xerialHeaderBytes = 16;

function unsnappy(bytes: Buffer, maxBytes: number): Buffer {
  if (!bytes.subarray(0, xerialMagic.length).equals(xerialMagic)) return snappy.uncompress(bytes, maxBytes);
  const blocks: Buffer[] = [];
  let total = 0;
  for (let at = xerialHeaderBytes; at < bytes.length;) {
    const end = at + 4 + bytes.readInt32BE(at);
    if (end <= at || end > bytes.length) throw new RangeError('a snappy block is longer than its frame');
    const block = snappy.uncompress(bytes.subarray(at + 4, end), maxBytes - total);
    total += block.length;
    blocks.push(block);
    at = end;
  }
  return Buffer.concat(blocks);
}

/**
 * The library has no limit, so the maximum size of the blocks is added up first, from the frame format: magic
 * u32 · FLG · BD (bits 4–6: block size, 4 is 64 KiB, 7 is 4 MiB) · [content size 8] · [dictionary 4] ·
 * checksum · blocks (size u32, highest bit: uncompressed; [checksum 4]) · 0 u32.
 */
function unlz4(bytes: Buffer, maxBytes: number): Buffer {
  const flags = bytes.readUInt8(4);
  const blockBytes = 4 ** (((bytes.readUInt8(5) >> 4) & 7) + 4);
  const checksumBytes = (flags & 0x10) === 0 ? 0 : 4;
  let at = 7 + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4);
  let most = 0;
  for (let size = bytes.readUInt32LE(at); size !== 0; size = bytes.readUInt32LE(at)) {
    const stored = size >= 0x8000_0000;
    const length = stored ? size - 0x8000_0000 : size;
    // No block grows more than 255-fold.
    most += stored ? length : Math.min(blockBytes, length * 255);
    if (most > maxBytes) throw new RangeError('an LZ4 frame is too large');
    at += 4 + length + checksumBytes;
  }
  // Loaded when first needed: its native part is an optional package, and nothing else depends on it.
  const { decompressFrameSync } = require('lz4-napi') as typeof lz4Napi;
  return decompressFrameSync(bytes);
}

function unzstd(bytes: Buffer, maxBytes: number): Buffer {
  const parts: Uint8Array[] = [];
  let total = 0;
  const stream = new Unzstd((part) => {
    total += part.length;
    if (total > maxBytes) throw new RangeError('a zstd frame is too large');
    parts.push(part);
  });
  stream.push(bytes, true);
  return Buffer.concat(parts, total);
}

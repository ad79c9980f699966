import { decompress as unzstd } from 'fzstd';
import { decompressFrame } from 'lz4-napi';
import snappy from 'snappyjs';
import { MillraceError, messageOf } from '../platform/errors.js';

/** What kafkajs asks of a codec. */
export interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(bytes: Buffer): Promise<Buffer>;
}

/** Snappy as Java's clients frame it: a header of 16 bytes, then blocks, each after its length (xerial's snappy-java). */
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const xerialHeaderBytes = 16;

/**
 * Readers of the codecs that kafkajs knows by name only, so that other clients may produce with any of them. (Its own
 * codec packages stopped years ago and are built on installation.) Millrace itself writes uncompressed.
 */
export const codecs: Record<'Snappy' | 'LZ4' | 'ZSTD', () => Codec> = {
  Snappy: () => readOnly('snappy', unsnappy),
  LZ4: () => readOnly('LZ4', decompressFrame),
  ZSTD: () => readOnly('zstd', (bytes) => toBuffer(unzstd(bytes))),
};

function readOnly(name: string, decompress: (bytes: Buffer) => Buffer | Promise<Buffer>): Codec {
  return {
    compress: () =>
      Promise.reject(new MillraceError('CODEC_READ_ONLY', `${name} is read here, not written.`)),
    decompress: async (bytes) => {
      try {
        return await decompress(bytes);
      } catch (error) {
        const problem = `A batch is not the ${name} that its header says: ${messageOf(error)}.`;
        throw new MillraceError('CODEC_FAILED', problem, { cause: error });
      }
    },
  };
}

function unsnappy(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, xerialMagic.length).equals(xerialMagic)) return toBuffer(snappy.uncompress(bytes));
  const blocks: Buffer[] = [];
  for (let at = xerialHeaderBytes; at < bytes.length;) {
    const end = at + 4 + bytes.readInt32BE(at);
    blocks.push(toBuffer(snappy.uncompress(bytes.subarray(at + 4, end))));
    at = end;
  }
  return Buffer.concat(blocks);
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

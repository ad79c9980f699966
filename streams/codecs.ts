import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { decompress } from '../platform/batch-compression.js';
import { MillraceError, messageOf } from '../platform/errors.js';

const compressGzip = promisify<Buffer, Buffer>(gzip);

/** The codec interface of kafkajs. */
export interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(bytes: Buffer): Promise<Buffer>;
}

/**
 * Decompresses all codecs, so that other clients may produce with any of them. kafkajs has only gzip, without
 * a limit to the decompressed size, and its packages for the others are unmaintained. Millrace writes
 * uncompressed.
 */
export const codecs: Record<'GZIP' | 'Snappy' | 'LZ4' | 'ZSTD', () => Codec> = {
  GZIP: () => ({ ...reader('gzip', 1), compress: ({ buffer }) => compressGzip(buffer) }),
  Snappy: () => reader('snappy', 2),
  LZ4: () => reader('LZ4', 3),
  ZSTD: () => reader('zstd', 4),
};

function reader(name: string, codec: number): Codec {
  return {
    compress: () =>
      Promise.reject(new MillraceError('CODEC_READ_ONLY', `${name} is read here, not written.`)),
    decompress: (bytes) => {
      try {
        return Promise.resolve(decompress(codec, bytes));
      } catch (error) {
        const problem = `A batch can't be read as the ${name} that its header says: ${messageOf(error)}.`;
        return Promise.reject(new MillraceError('CODEC_FAILED', problem, { cause: error }));
      }
    },
  };
}

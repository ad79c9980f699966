import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import {
  brotliCompress,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  deflate,
  gzip,
} from 'node:zlib';
import { messageOf } from '../../platform/errors.js';
import { clickHouseError } from './http-errors.js';

const decompressors = { gzip: createGunzip, deflate: createInflate, br: createBrotliDecompress };
const compressors = { gzip: promisify(gzip), deflate: promisify(deflate), br: promisify(brotliCompress) };

/**
 * Reads the whole body, decompressed.
 *
 * @param maxBytes - after decompression, so that a small body can't become a huge one.
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const encoding = request.headers['content-encoding'] ?? '';
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of decompressed(request, encoding)) {
      bytes += chunk.byteLength;
      if (bytes > maxBytes)
        throw clickHouseError(229, 'QUERY_IS_TOO_LARGE', `The body has more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (messageOf(error).startsWith('Code: ')) throw error;
    throw clickHouseError(117, 'INCORRECT_DATA', `The request body could not be read: ${messageOf(error)}`);
  }
  return Buffer.concat(chunks);
}

function decompressed(request: IncomingMessage, encoding: string): AsyncIterable<Buffer> {
  if (encoding === '' || encoding === 'identity') return request;
  if (!(encoding === 'gzip' || encoding === 'deflate' || encoding === 'br')) {
    throw clickHouseError(
      48,
      'NOT_IMPLEMENTED',
      `Content-Encoding ${encoding} is not supported; turn compression off (compress=False) or use gzip, deflate or br`,
    );
  }
  const stream = decompressors[encoding]();
  request.once('error', (error) => stream.destroy(error));
  return request.pipe(stream);
}

export interface Compressor {
  encoding: string;
  compress(bytes: Uint8Array): Promise<Uint8Array>;
}

/** Returns the first supported encoding in `Accept-Encoding`, or `undefined` for none. */
export function compressorFor(request: IncomingMessage): Compressor | undefined {
  const accepted = (request.headers['accept-encoding'] ?? '')
    .split(',')
    .map((part) => part.split(';')[0]?.trim());
  for (const encoding of accepted) {
    if (encoding === 'gzip' || encoding === 'deflate' || encoding === 'br') {
      return { encoding, compress: compressors[encoding] };
    }
  }
  return undefined;
}

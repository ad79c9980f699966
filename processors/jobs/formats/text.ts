import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileInvalid } from './file-format.js';

/**
 * Yields the text of a file in chunks, without its byte order mark: UTF-8, or UTF-16 with a byte order mark.
 *
 * @throws MillraceError `FILE_INVALID` at the first invalid bytes.
 */
export async function* readText(path: string): AsyncGenerator<string> {
  const encoding = await encodingOf(path);
  const decoder = new TextDecoder(encoding, { fatal: true });
  let offset = 0;
  const decode = (chunk?: Buffer): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch (error) {
      const to = offset + (chunk?.length ?? 0);
      throw fileInvalid(
        `The file is not ${encoding.toUpperCase()} between its bytes ${offset} and ${to}. Save it as “CSV UTF-8” or convert it (iconv -f latin1 -t utf-8).`,
        error,
      );
    }
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    const text = decode(chunk);
    const nul = text.indexOf('\0');
    if (nul !== -1) {
      const at = offset + Buffer.byteLength(text.slice(0, nul), encoding === 'utf-8' ? 'utf8' : 'utf16le');
      throw fileInvalid(
        `The file has a NUL character near its byte ${at}: it is no text. Send xlsx, csv or jsonl.`,
      );
    }
    if (text !== '') yield text;
    offset += chunk.length;
  }
  const rest = decode();
  if (rest !== '') yield rest;
}

/** Reads the first `length` bytes of a file, or all. */
export async function readStart(path: string, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function encodingOf(path: string): Promise<'utf-8' | 'utf-16le' | 'utf-16be'> {
  const [first, second] = await readStart(path, 2);
  if (first === 0xff && second === 0xfe) return 'utf-16le';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  return 'utf-8';
}

import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { type MultipartOptions, receiveMultipart } from './receive-multipart.js';

const boundary = 'x';
const part = (name: string, content: string, file = 'a.txt'): string =>
  `--${boundary}\r\ncontent-disposition: form-data; name="${name}"; filename="${file}"\r\n\r\n${content}\r\n`;
const field = (name: string, value: string): string =>
  `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const end = `--${boundary}--\r\n`;

/** Stores files in memory. */
async function receive(
  chunks: Iterable<string> | AsyncIterable<string>,
  options: Partial<MultipartOptions> = {},
): Promise<{ files: Record<string, string>; fields: Record<string, string> }> {
  const files: Record<string, string> = {};
  const fields: Record<string, string> = {};
  const bytes = Readable.from(chunks, { objectMode: false });
  await receiveMultipart(Readable.toWeb(bytes) as ReadableStream, {
    contentType: `multipart/form-data; boundary=${boundary}`,
    limits: { parts: 3 },
    maxFileBytes: 10,
    tooLarge: () => new Error('too large'),
    onFile: async (name, content) => {
      files[name] = (await buffer(content)).toString();
    },
    onField: (name, value) => (fields[name] = value),
    ...options,
  });
  return { files, fields };
}

it('stores every file and reports every field, however the body is split into chunks', async () => {
  const body = part('a', 'one') + field('b', 'two') + part('c', 'three') + end;
  const expected = { files: { a: 'one', c: 'three' }, fields: { b: 'two' } };
  expect(await receive([body])).toEqual(expected);
  expect(await receive(body)).toEqual(expected);
});

it('ignores an unwanted file', async () => {
  const options = { onFile: () => undefined };
  expect(await receive([part('a', 'a'.repeat(100)), end], options)).toEqual({ files: {}, fields: {} });
});

it.each([
  ['a file over the limit', [part('a', 'a'.repeat(11)), end], {}, 'too large'],
  [
    'too many parts',
    ['a', 'b', 'c', 'd'].map((name) => part(name, '')).concat(end),
    { tooManyParts: () => new Error('too many') },
    'too many',
  ],
  [
    'a file that is refused',
    [part('a', 'a'), end],
    {
      onFile: () => {
        throw new Error('refused');
      },
    },
    'refused',
  ],
  [
    'a file that can’t be stored',
    [part('a', 'a'), end],
    { onFile: () => Promise.reject(new Error('disk full')) },
    'disk full',
  ],
])('fails for %s', async (_name, body, options, message) => {
  await expect(receive(body, options)).rejects.toThrow(message);
});

it('fails for a body that ends early, and ends the file in progress', async () => {
  let stored: Promise<unknown> | undefined;
  const onFile: MultipartOptions['onFile'] = (_name, content) => (stored = buffer(content));
  await expect(receive([part('a', 'a').slice(0, -2)], { onFile })).rejects.toThrow();
  await expect(stored).rejects.toThrow();
});

it('fails for a body whose connection breaks', async () => {
  async function* broken(): AsyncGenerator<string> {
    yield part('a', 'a').slice(0, -2);
    await Promise.reject(new Error('reset'));
  }
  await expect(receive(broken())).rejects.toThrow('reset');
});

it('fails when nothing arrives for too long', async () => {
  async function* silent(): AsyncGenerator<string> {
    yield part('a', 'a').slice(0, -2);
    await new Promise(() => undefined);
  }
  const options = { timeoutMs: 10, tooSlow: () => new Error('too slow') };
  await expect(receive(silent(), options)).rejects.toThrow('too slow');
});

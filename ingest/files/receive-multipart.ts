import { once } from 'node:events';
import { Readable, Transform } from 'node:stream';
import { Busboy, type BusboyConfig, type BusboyInstance } from '@fastify/busboy';

export interface MultipartOptions {
  /** The request's `Content-Type`. */
  contentType: string;
  limits: BusboyConfig['limits'];
  /** Maximum bytes of a file. */
  maxFileBytes: number;
  /** The error for a larger file. */
  tooLarge: () => Error;
  /** The error for a body with more parts than the limits allow. Default: further parts are ignored. */
  tooManyParts?: () => Error;
  /** Fails after this time without a byte, milliseconds. Default: no limit. */
  timeoutMs?: number;
  /** The error for that. */
  tooSlow?: () => Error;
  /** Stores a file as it arrives. Without a promise the file is ignored; an error fails the whole body. */
  onFile: (field: string, content: Readable, fileName: string) => Promise<unknown> | undefined;
  /** Called with each stored chunk, in order. */
  onChunk?: (chunk: Buffer) => void;
  onField?: (name: string, value: string) => void;
}

/**
 * Reads a multipart body. Resolves when all of its files are stored.
 *
 * @throws the first failure: of the options, of the parser, or of the connection.
 */
export async function receiveMultipart(body: ReadableStream, options: MultipartOptions): Promise<void> {
  const { contentType, limits, maxFileBytes, tooLarge, tooManyParts, onFile, onChunk, onField } = options;
  const parser = new Busboy({ headers: { 'content-type': contentType }, limits });
  const source = Readable.fromWeb(body as never);
  const storing: Promise<unknown>[] = [];
  let failure: unknown;
  const fail = (error: unknown): void => {
    failure ??= error;
    source.destroy();
    // The parser may already have the whole body, and would wait for ever for a reader of its file.
    parser.destroy(error instanceof Error ? error : undefined);
  };
  const store = (field: string, stream: Readable, fileName: string): void => {
    let bytes = 0;
    const counted = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        bytes += chunk.length;
        onChunk?.(chunk);
        if (bytes > maxFileBytes) done(tooLarge());
        else done(null, chunk);
      },
    });
    // It may break off before the file is open, without another listener.
    counted.on('error', fail);
    const stored = onFile(field, counted, fileName);
    if (stored === undefined) {
      stream.on('error', fail).resume();
      return;
    }
    stream.on('error', (error: Error) => counted.destroy(error));
    storing.push(stored.catch(fail));
    // Otherwise the receiver waits for ever for a stream whose source has broken off.
    source.once('close', () => {
      if (!source.readableEnded) counted.destroy(source.errored ?? new Error('the body ended early'));
    });
    stream.pipe(counted);
  };
  parser.on('file', (field: string, stream: Readable, fileName: string) => {
    try {
      store(field, stream, fileName);
    } catch (error) {
      stream.on('error', () => undefined).resume();
      fail(error);
    }
  });
  if (onField !== undefined) parser.on('field', onField);
  if (tooManyParts !== undefined)
    for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const)
      parser.on(limit, () => fail(tooManyParts()));
  // There may be several, and an unhandled one would end the process.
  parser.on('error', fail);
  try {
    await pump(source, parser, options);
  } catch (error) {
    fail(error);
  }
  await Promise.all(storing);
  if (failure !== undefined) throw failure as Error;
}

/** Writes a whole body into its parser, at the parser's speed. */
async function pump(
  source: Readable,
  parser: BusboyInstance,
  { timeoutMs, tooSlow }: MultipartOptions,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const restart = (): void => {
    if (timeoutMs === undefined) return;
    clearTimeout(timer);
    timer = setTimeout(() => source.destroy(tooSlow?.()), timeoutMs);
  };
  const finished = once(parser, 'finish');
  finished.catch(() => undefined);
  // One shared listener: separate ones would stay until the end.
  const closed = once(source, 'close').catch(() => undefined);
  try {
    restart();
    for await (const chunk of source) {
      restart();
      if (!parser.write(chunk)) await Promise.race([once(parser, 'drain'), closed]);
    }
    parser.end();
    await finished;
  } finally {
    clearTimeout(timer);
  }
}

import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Readable, Transform } from 'node:stream';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import type { Context } from 'hono';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';
import type { JobFiles } from '../../processors/jobs/job-files.js';

/** A file that is on this machine's disk, but no job's yet. */
export interface Upload {
  /** For {@link JobFiles.keep} or `discard`. */
  id: string;
  path: string;
  /** Last part of the client's name for it. */
  name: string;
  bytes: number;
  /** SHA-256 in lower-case hex. */
  digest: string;
}

export interface UploadLimits {
  maxBytes: number;
  /** How long may pass without a byte, milliseconds. */
  timeoutMs: number;
}

/** What a multipart body has around its file. */
const envelopeBytes = 64 * 1024;

/**
 * Receives the file in the field `file` of a multipart body, straight to disk. When it fails nothing is left behind.
 *
 * @throws MillraceError `CONTENT_TYPE_UNSUPPORTED`, `FILE_MISSING`, `UPLOAD_BROKEN`, `FILE_TOO_LARGE`, `BODY_TIMEOUT`,
 *   `STORAGE_FULL`.
 */
export async function receiveUpload(c: Context, files: JobFiles, limits: UploadLimits): Promise<Upload> {
  const contentType = c.req.header('content-type') ?? '';
  const body = c.req.raw.body;
  if (!/^multipart\/form-data\s*;/i.test(contentType) || body === null) {
    throw new MillraceError(
      'CONTENT_TYPE_UNSUPPORTED',
      'Send multipart/form-data with the file in the field `file`, as `curl -F file=@…` does.',
    );
  }
  if (Number(c.req.header('content-length') ?? 0) > limits.maxBytes + envelopeBytes) throw tooLarge(limits);
  const source = Readable.fromWeb(body);
  const upload = { id: randomUUID(), path: '', name: '', bytes: 0, digest: '' };
  const hash = createHash('sha256');
  let failure: unknown;
  let storing: Promise<unknown> | undefined;
  const fail = (error: unknown): void => {
    failure ??= error;
    source.destroy();
    // All of the body may be with the parser already, which would wait for ever for a reader of its file.
    parser.destroy(error instanceof Error ? error : undefined);
  };
  const parser = createParser(contentType);
  parser.on('file', (field: string, stream: Readable, fileName: string) => {
    if (field !== 'file' || storing !== undefined) {
      stream.on('error', fail).resume();
      return;
    }
    upload.name = safeName(fileName);
    const counted = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        upload.bytes += chunk.length;
        if (upload.bytes > limits.maxBytes) done(tooLarge(limits));
        else done(null, chunk);
        hash.update(chunk);
      },
    });
    // It may break off before the file is open, when nobody else listens.
    counted.on('error', fail);
    stream.on('error', (error: Error) => counted.destroy(error));
    storing = files.receive(upload.id, stream.pipe(counted)).then(
      (path) => (upload.path = path),
      (error: unknown) => fail(failure ?? error),
    );
    // Or what is received waits for ever for a stream whose source has broken off.
    source.once('close', () => {
      if (!source.readableEnded) counted.destroy(new Error('the body ended early'));
    });
  });
  // More than one may come, and one that nobody listens to would end the process.
  parser.on('error', fail);
  try {
    await pump(source, parser, limits.timeoutMs);
  } catch (error) {
    failure ??= error;
    parser.destroy();
    source.destroy();
  }
  await storing;
  if (failure !== undefined) {
    await files.discard(upload.id);
    throw translated(failure);
  }
  if (storing === undefined) {
    throw new MillraceError('FILE_MISSING', 'The body has no file in a field `file`. Send `-F file=@…`.');
  }
  return { ...upload, digest: hash.digest('hex') };
}

function createParser(contentType: string): BusboyInstance {
  try {
    const headers = { 'content-type': contentType };
    return new Busboy({
      headers,
      limits: { parts: 20, fields: 10, fieldSize: envelopeBytes, headerPairs: 100 },
    });
  } catch (error) {
    throw broken(error);
  }
}

/** Writes all of a body into its parser, as fast as that takes it. */
async function pump(source: Readable, parser: BusboyInstance, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const restart = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => source.destroy(tooSlow(timeoutMs)), timeoutMs);
  };
  const finished = once(parser, 'finish');
  finished.catch(() => undefined);
  // One for all waits: each listener of its own would stay until the end.
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

/** What follows the last slash or backslash, without control characters. */
function safeName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? '';
  return last.replaceAll(/\p{C}/gu, '').slice(0, 200) || 'file';
}

function translated(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    const problem =
      'The file does not fit on the disk here. Free some space, or set FILES_DIR to another disk.';
    return new MillraceError('STORAGE_FULL', problem, { cause: error });
  }
  return broken(error);
}

function broken(error: unknown): MillraceError {
  return new MillraceError('UPLOAD_BROKEN', `The body is no whole multipart body: ${messageOf(error)}.`, {
    cause: error,
  });
}

function tooLarge({ maxBytes }: UploadLimits): MillraceError {
  return new MillraceError(
    'FILE_TOO_LARGE',
    `A file has at most ${maxBytes} bytes. Split it, or raise MAX_FILE_BYTES.`,
  );
}

function tooSlow(timeoutMs: number): MillraceError {
  const problem = `Nothing of the file came for ${timeoutMs} ms. Send it again.`;
  return new MillraceError('BODY_TIMEOUT', problem);
}

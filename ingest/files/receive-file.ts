import { createHash, randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';
import { receiveMultipart } from './receive-multipart.js';
import type { JobFiles } from '../../processors/jobs/job-files.js';

/** A file on this machine's disk that belongs to no job yet. */
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
  /** Maximum time without a byte, milliseconds. */
  timeoutMs: number;
}

/** Bytes of a multipart body around its file. */
const envelopeBytes = 64 * 1024;

/**
 * Stores the file in the field `file` of a multipart body, directly on disk. When it fails nothing is left
 * behind.
 *
 * @throws MillraceError `CONTENT_TYPE_UNSUPPORTED`, `FILE_MISSING`, `UPLOAD_BROKEN`, `FILE_TOO_LARGE`,
 *   `BODY_TIMEOUT`, `STORAGE_FULL`.
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
  const upload = { id: randomUUID(), path: '', name: '', bytes: 0 };
  const hash = createHash('sha256');
  let isThere = false;
  try {
    await receiveMultipart(body, {
      contentType,
      limits: { parts: 20, fields: 10, fieldSize: envelopeBytes, headerPairs: 100 },
      maxFileBytes: limits.maxBytes,
      tooLarge: () => tooLarge(limits),
      timeoutMs: limits.timeoutMs,
      tooSlow: () => tooSlow(limits.timeoutMs),
      onFile: (field, content, fileName) => {
        if (field !== 'file' || isThere) return undefined;
        isThere = true;
        upload.name = safeName(fileName);
        return files.receive(upload.id, content).then((path) => (upload.path = path));
      },
      onChunk: (chunk) => {
        upload.bytes += chunk.length;
        hash.update(chunk);
      },
    });
  } catch (error) {
    await files.discard(upload.id);
    throw translated(error);
  }
  if (!isThere) {
    throw new MillraceError('FILE_MISSING', 'The body has no file in a field `file`. Send `-F file=@…`.');
  }
  return { ...upload, digest: hash.digest('hex') };
}

/** Returns the part after the last slash or backslash, without control characters. */
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

import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { receiveMultipart } from '../files/receive-multipart.js';
import { versionFiles } from '../../models/registration/install.js';

/**
 * Maximum size of model.json and golden.json, which are read whole in the serving process; they have some
 * kilobytes.
 */
const maxJsonBytes = 1024 ** 2;

export interface ReceiveOptions {
  /** The request's `Content-Type`. */
  contentType: string;
  /** An existing, empty folder for the files. */
  folder: string;
  /** Maximum bytes of each file. */
  maxBytes: number;
}

/**
 * Writes the files of a multipart upload to a folder as they arrive. A part is a file by its own name, which
 * must be one of {@link versionFiles}; the client's file names are ignored.
 *
 * @returns the other fields, by name.
 * @throws MillraceError `UPLOAD_INVALID`, `BODY_TOO_LARGE`.
 */
export async function receiveVersion(
  body: ReadableStream | null,
  { contentType, folder, maxBytes }: ReceiveOptions,
): Promise<Map<string, string>> {
  if (body === null || !/^multipart\/form-data\b/i.test(contentType)) {
    throw invalid('it is no multipart/form-data');
  }
  const fields = new Map<string, string>();
  const received = new Set<string>();
  try {
    await receiveMultipart(body, {
      contentType,
      limits: { files: 4, fields: 4, parts: 8, fieldSize: 1000, headerPairs: 20 },
      maxFileBytes: maxBytes,
      tooLarge: () =>
        new MillraceError(
          'BODY_TOO_LARGE',
          `A file of a model version has at most ${maxBytes} bytes (MAX_MODEL_BYTES).`,
        ),
      tooManyParts: () => invalid('it has too many parts'),
      onFile: (name, content) => {
        const known = versionFiles.find((each) => each === name);
        if (known === undefined) throw invalid(`there is no file '${name.slice(0, 100)}' in a version`);
        if (received.has(known)) throw invalid(`${known} comes twice`);
        received.add(known);
        return pipeline(content, createWriteStream(join(folder, known), { flags: 'wx' }));
      },
      onField: (name, value) => fields.set(name, value),
    });
  } catch (error) {
    throw error instanceof MillraceError ? error : invalid(messageOf(error), error);
  }
  const missing = versionFiles.filter((name) => !received.has(name));
  if (missing.length > 0) throw invalid(`${missing.join(', ')} not in it`);
  for (const name of versionFiles) {
    const { size } = await stat(join(folder, name));
    if (size === 0) throw invalid(`${name} is empty`);
    if (name.endsWith('.json') && size > maxJsonBytes) {
      throw new MillraceError(
        'BODY_TOO_LARGE',
        `${name} has ${size} bytes; at most ${maxJsonBytes} are taken.`,
      );
    }
  }
  return fields;
}

function invalid(problem: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'UPLOAD_INVALID',
    `This is no upload of a model version: ${problem}. Send multipart/form-data with the files ${versionFiles.join(', ')} under these names.`,
    { cause },
  );
}

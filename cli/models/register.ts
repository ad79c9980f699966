import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest } from '../../models/manifest.js';
import { versionFiles } from '../../models/registration/install.js';
import type { Config } from '../../platform/config.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { type ApiClient, createApiClient } from '../api-client.js';
import { modelPath, type RegisteredAnswer } from './api.js';

/** Registers a version folder under the name in its model.json. */
export async function registerFolder(
  config: Config,
  folder: string,
  { json }: { json?: boolean },
): Promise<void> {
  const api = await createApiClient(config);
  const answer = await upload(api, folder, { maxBytes: config.MAX_MODEL_BYTES });
  console.log(json ? JSON.stringify(answer) : describeRegistered(answer));
}

/**
 * Uploads a version folder.
 *
 * @param source - recorded origin of the version. Default: this API.
 * @throws MillraceError `VERSION_FOLDER_UNREADABLE`, `MODEL_INVALID`, and errors of the API.
 */
export async function upload(
  api: ApiClient,
  folder: string,
  { maxBytes, source }: { maxBytes: number; source?: string },
): Promise<RegisteredAnswer> {
  const form = new FormData();
  if (source !== undefined) form.set('source', source);
  for (const name of versionFiles) {
    form.set(name, new Blob([await readPart(join(folder, name), maxBytes)]), name);
  }
  const file = join(folder, 'model.json');
  const { name } = parseManifest(await readFile(file, 'utf8'), file);
  return api.json<RegisteredAnswer>(modelPath(name, '/versions'), { method: 'POST', body: form });
}

export function describeRegistered({
  model,
  version,
  digest,
  existed,
  sample_events: samples,
}: RegisteredAnswer): string {
  const what = `${model} ${version} (${digest.slice(0, 12)})`;
  if (existed) return `${what} is already registered and unchanged.`;
  const untried =
    samples === 0
      ? ' No sample events were tried, since no pipeline has some: only its golden rows, and rows drawn from them.'
      : '';
  return `Registered ${what}.${untried} To serve it, run millrace models challenge ${model} ${version} --shadow, or millrace models promote ${model} ${version}.`;
}

async function readPart(file: string, maxBytes: number): Promise<Buffer<ArrayBuffer>> {
  try {
    if ((await stat(file)).size > maxBytes)
      throw new Error(`larger than ${maxBytes} bytes (MAX_MODEL_BYTES)`);
    return await readFile(file);
  } catch (error) {
    throw new MillraceError(
      'VERSION_FOLDER_UNREADABLE',
      `Cannot send ${file}: ${messageOf(error)}. A version folder contains ${versionFiles.join(', ')}.`,
      { cause: error },
    );
  }
}

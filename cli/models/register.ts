import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest } from '../../models/manifest.js';
import { versionFiles } from '../../models/registration/receive.js';
import type { Config } from '../../platform/config.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { type ApiClient, createApiClient } from '../api-client.js';
import { modelPath, type RegisteredAnswer } from './api.js';

/** Registers a version folder under the name that its model.json has. */
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
 * @param source - what the version is said to come from. Default: this API.
 * @throws MillraceError `VERSION_FOLDER_UNREADABLE`, `MODEL_INVALID`, and what the API answers.
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

export function describeRegistered({ model, version, digest, existed }: RegisteredAnswer): string {
  const what = `${model} ${version} (${digest.slice(0, 12)})`;
  if (existed) return `${what} is registered already, and has not changed.`;
  return `Registered ${what}. It serves nothing yet: millrace models challenge ${model} ${version} --shadow, or millrace models promote ${model} ${version}.`;
}

async function readPart(file: string, maxBytes: number): Promise<Buffer<ArrayBuffer>> {
  try {
    if ((await stat(file)).size > maxBytes)
      throw new Error(`it has more than ${maxBytes} bytes (MAX_MODEL_BYTES)`);
    return await readFile(file);
  } catch (error) {
    throw new MillraceError(
      'VERSION_FOLDER_UNREADABLE',
      `${file} can't be sent: ${messageOf(error)}. A version folder holds ${versionFiles.join(', ')}.`,
      { cause: error },
    );
  }
}

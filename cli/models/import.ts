import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MlflowClient, parseReference } from '../../models/mlflow/client.js';
import { importFromMlflow, type ImportOptions } from '../../models/mlflow/import.js';
import type { Config } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { type ApiClient, createApiClient } from '../api-client.js';
import { type ModelAnswer, modelPath, type VersionDetailAnswer } from './api.js';
import { describeRegistered, upload } from './register.js';

export interface ImportCommandOptions {
  trackingUri: string;
  name?: string;
  as?: string;
  output?: string;
  column?: number;
  json?: boolean;
}

/** Converts a model version from an MLflow registry, and registers it. */
export async function importVersion(
  config: Config,
  reference: string,
  { trackingUri, name, as: version, output, column, json }: ImportCommandOptions,
): Promise<void> {
  const api = await createApiClient(config);
  const wanted = parseReference(reference);
  const client = new MlflowClient({
    trackingUri,
    token: process.env['MLFLOW_TRACKING_TOKEN'],
    username: process.env['MLFLOW_TRACKING_USERNAME'],
    password: process.env['MLFLOW_TRACKING_PASSWORD'],
  });
  const model = await findModel(api, name ?? wanted.name);
  const champion = await championOf(api, model);
  const folder = await mkdtemp(join(tmpdir(), 'millrace-import-'));
  try {
    const choice = { output, column };
    const maxBytes = config.MAX_MODEL_BYTES;
    const imported = await importFromMlflow({
      client,
      reference: wanted,
      champion,
      version,
      choice,
      maxBytes,
      folder,
    });
    const { version: importedVersion, digest } = imported.manifest;
    const known = model.versions.find((each) => each.version === importedVersion);
    // The card depends on the current champion, so only the digest of the graph identifies the version.
    const isSame = known !== undefined && (await graphDigestOf(api, model.model, known.version)) === digest;
    const answer =
      known === undefined || !isSame
        ? await upload(api, folder, { maxBytes, source: `${client.server} ${reference}` })
        : { ...known, existed: true, sample_events: null };
    if (json) return console.log(JSON.stringify({ ...answer, notes: imported.notes }));
    if (!answer.existed) for (const note of imported.notes) console.log(note);
    console.log(describeRegistered(answer));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function findModel(api: ApiClient, name: string): Promise<ModelAnswer> {
  try {
    return await api.json<ModelAnswer>(modelPath(name));
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'MODEL_NOT_FOUND') throw error;
    throw new MillraceError(error.code, `${error.message} Pass --name with one of these models.`, {
      cause: error,
    });
  }
}

/** Returns the champion, with which the imported version must be compatible. */
async function championOf(
  api: ApiClient,
  { model, champion }: ModelAnswer,
): Promise<ImportOptions['champion']> {
  if (champion === null) {
    throw new MillraceError(
      'MODEL_CONFLICT',
      `${model} has no champion to take inputs and output from. Register a first version from a folder.`,
    );
  }
  const path = modelPath(model, `/versions/${encodeURIComponent(champion.version)}`);
  const { manifest, golden } = await api.json<VersionDetailAnswer>(path);
  return { manifest, golden };
}

async function graphDigestOf(api: ApiClient, model: string, version: string): Promise<string> {
  const path = modelPath(model, `/versions/${encodeURIComponent(version)}`);
  return (await api.json<VersionDetailAnswer>(path)).manifest.digest;
}

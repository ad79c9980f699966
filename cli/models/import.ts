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

/** Makes a version of what an MLflow registry has, and registers it. */
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
    const { version: itsVersion, digest } = imported.manifest;
    // A card is made after whatever is champion at the time; the graph tells whether it is the same version.
    const known = model.versions.find((each) => each.version === itsVersion && each.digest === digest);
    const answer =
      known === undefined
        ? await upload(api, folder, { maxBytes, source: `${client.server} ${reference}` })
        : { ...known, existed: true };
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
    throw new MillraceError(
      error.code,
      `${error.message} Say with --name which of them it is a version of.`,
      {
        cause: error,
      },
    );
  }
}

/** What the imported version has to be exchangeable with. */
async function championOf(
  api: ApiClient,
  { model, champion }: ModelAnswer,
): Promise<ImportOptions['champion']> {
  if (champion === null) {
    throw new MillraceError(
      'MODEL_CONFLICT',
      `${model} has no champion yet that tells its inputs and output. Register a first version from a folder.`,
    );
  }
  const path = modelPath(model, `/versions/${encodeURIComponent(champion.version)}`);
  const { manifest, golden } = await api.json<VersionDetailAnswer>(path);
  return { manifest, golden: golden.rows };
}

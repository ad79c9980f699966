import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, messageOf } from '../platform/errors.js';
import { parseGolden, parseManifest, type GoldenRow, type ModelManifest } from './manifest.js';
import { requireWeightsInside } from './onnx-file.js';

/** A version in the registry: `<root>/<name>/<version>/` with model.onnx, model.json and golden.json. */
export interface ModelVersion {
  name: string;
  version: string;
  folder: string;
  manifest: ModelManifest;
}

/** A version folder's content in memory; `onnx` is what the manifest's digest was checked against. */
export interface ModelArtifact {
  folder: string;
  manifest: ModelManifest;
  onnx: Uint8Array;
  golden: GoldenRow[];
}

const byNumber = new Intl.Collator('en', { numeric: true });

/**
 * All versions, by name, the newest first; digests are not checked. Folders without a model.json are passed over.
 *
 * @throws MillraceError `MODEL_INVALID` for a wrong model.json, `MODEL_NOT_FOUND` when there is no `root`.
 */
export async function listModels(root: string): Promise<ModelVersion[]> {
  const models: ModelVersion[] = [];
  for (const name of (await foldersIn(root)).toSorted()) {
    for (const version of await versionsIn(root, name)) {
      const folder = join(root, name, version);
      const manifest = await readManifest(folder);
      requireIdentity(manifest, name, version, folder);
      models.push({ name, version, folder, manifest });
    }
  }
  return models;
}

/**
 * A model's versions, the newest first: numbers inside versions compared as numbers (`10` is newer than `9`).
 *
 * @throws MillraceError `MODEL_NOT_FOUND`
 */
export async function listVersions(root: string, name: string): Promise<string[]> {
  // Looked up in listings and never joined unseen: names come from clients.
  const names = await foldersIn(root);
  if (!names.includes(name)) {
    throw new MillraceError('MODEL_NOT_FOUND', `No model ${name} in ${root}. There are: ${list(names)}.`);
  }
  return versionsIn(root, name);
}

/**
 * One version, its digest checked against its model.onnx.
 *
 * @param version - default: the newest.
 * @throws MillraceError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_DIGEST_MISMATCH`.
 */
export async function openModel(root: string, name: string, version?: string): Promise<ModelVersion> {
  const opened = await locate(root, name, version);
  const { manifest } = await readModel(opened.folder);
  return { ...opened, manifest };
}

/** As {@link openModel}, without a look at model.onnx. */
async function locate(root: string, name: string, version?: string): Promise<ModelVersion> {
  const versions = await listVersions(root, name);
  const wanted = version ?? versions[0];
  if (wanted === undefined || !versions.includes(wanted)) {
    throw new MillraceError(
      'MODEL_NOT_FOUND',
      `No version ${version ?? 'at all'} of model ${name} in ${root}. There are: ${list(versions)}. A version is a folder with a model.json.`,
    );
  }
  const folder = join(root, name, wanted);
  const manifest = await readManifest(folder);
  requireIdentity(manifest, name, wanted, folder);
  return { name, version: wanted, folder, manifest };
}

/**
 * The folder of a registered version, in whichever root has it by its model.json; model.onnx is checked when it is loaded.
 *
 * @param roots - the first that has it counts; one that is not there has none.
 * @throws MillraceError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_DIGEST_MISMATCH` when only other content is found.
 */
export async function findVersion(
  roots: readonly string[],
  { name, version, digest }: { name: string; version: string; digest: string },
): Promise<ModelVersion> {
  let problem: unknown;
  for (const root of roots) {
    try {
      const found = await locate(root, name, version);
      if (found.manifest.digest === digest) return found;
      problem = new MillraceError(
        'MODEL_DIGEST_MISMATCH',
        `${found.folder} has the digest ${found.manifest.digest}, and ${name} ${version} is registered with ${digest}. Put back what was registered.`,
      );
    } catch (error) {
      problem = moreTelling(problem, error);
    }
  }
  throw problem;
}

/** That a version is in one root and broken says more than that it is not in another. */
function moreTelling(one: unknown, other: unknown): unknown {
  return one instanceof MillraceError && one.code !== 'MODEL_NOT_FOUND' ? one : other;
}

/**
 * Reads a version folder once, so that what is checked is what is used.
 *
 * @throws MillraceError `MODEL_NOT_FOUND` (a file is missing), `MODEL_INVALID`, `MODEL_DIGEST_MISMATCH`,
 * `MODEL_REFUSED` (model.onnx is no whole model, or has tensors in other files).
 */
export async function readModel(folder: string): Promise<ModelArtifact> {
  const manifest = await readManifest(folder);
  const onnxFile = join(folder, 'model.onnx');
  const goldenFile = join(folder, 'golden.json');
  const onnx = await readPart(onnxFile);
  const digest = createHash('sha256').update(onnx).digest('hex');
  if (digest !== manifest.digest) {
    throw new MillraceError(
      'MODEL_DIGEST_MISMATCH',
      `${onnxFile} has SHA-256 ${digest}, its model.json says ${manifest.digest}. The file was changed or not copied whole: restore it, or export the model as a new version.`,
    );
  }
  requireReadable(onnx, onnxFile);
  const golden = parseGolden((await readPart(goldenFile)).toString(), goldenFile, manifest.inputs.length);
  return { folder, manifest, onnx, golden };
}

function requireReadable(onnx: Uint8Array, file: string): void {
  try {
    requireWeightsInside(onnx);
  } catch (error) {
    throw new MillraceError('MODEL_REFUSED', `${file} is refused: ${messageOf(error)}.`, { cause: error });
  }
}

async function readManifest(folder: string): Promise<ModelManifest> {
  const file = join(folder, 'model.json');
  return parseManifest((await readPart(file)).toString(), file);
}

/** A manifest in the wrong folder would give its predictions another model's name. */
function requireIdentity(manifest: ModelManifest, name: string, version: string, folder: string): void {
  if (manifest.name !== name || manifest.version !== version) {
    throw new MillraceError(
      'MODEL_INVALID',
      `${join(folder, 'model.json')} is of model ${manifest.name} version ${manifest.version}, its folder of ${name} ${version}. Rename one of them.`,
    );
  }
}

async function readPart(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new MillraceError(
      'MODEL_NOT_FOUND',
      `Cannot read ${file}: ${messageOf(error)}. A version folder holds model.onnx, model.json and golden.json.`,
      { cause: error },
    );
  }
}

async function foldersIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    // Those with a dot in front are being filled.
    return entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(({ name }) => name);
  } catch (error) {
    throw new MillraceError(
      'MODEL_NOT_FOUND',
      `Cannot read the model folder ${folder}: ${messageOf(error)}.`,
      {
        cause: error,
      },
    );
  }
}

async function versionsIn(root: string, name: string): Promise<string[]> {
  const versions: string[] = [];
  for (const version of await foldersIn(join(root, name))) {
    if ((await readdir(join(root, name, version))).includes('model.json')) versions.push(version);
  }
  return versions.toSorted((a, b) => byNumber.compare(b, a));
}

function list(names: string[]): string {
  return names.length === 0 ? 'none' : names.toSorted().join(', ');
}

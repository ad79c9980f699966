import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, messageOf } from '../platform/errors.js';
import { parseGolden, parseManifest, type Golden, type ModelManifest } from './manifest.js';
import { requireWeightsInside } from './onnx-file.js';
import { isDigestOf, versionDigest } from './version-digest.js';

/** A version in the registry: `<root>/<name>/<version>/` with model.onnx, model.json and golden.json. */
export interface ModelVersion {
  name: string;
  version: string;
  folder: string;
  manifest: ModelManifest;
}

/** Content of a version folder. The digest in the manifest was verified against `onnx`. */
export interface ModelArtifact {
  folder: string;
  manifest: ModelManifest;
  onnx: Uint8Array;
  golden: Golden;
}

const byNumber = new Intl.Collator('en', { numeric: true });

/**
 * Lists all versions by name, newest first, without checking digests. Skips folders without a model.json.
 *
 * @throws MillraceError `MODEL_INVALID` for an invalid model.json, `MODEL_NOT_FOUND` if `root` does not
 *   exist.
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
 * Lists the versions of a model, newest first. Compares numbers in versions numerically (`10` is newer than
 * `9`).
 *
 * @throws MillraceError `MODEL_NOT_FOUND`
 */
export async function listVersions(root: string, name: string): Promise<string[]> {
  // Names come from clients, so they are looked up in listings instead of being joined to a path.
  const names = await foldersIn(root);
  if (!names.includes(name)) {
    throw new MillraceError('MODEL_NOT_FOUND', `No model ${name} in ${root}. Models: ${list(names)}.`);
  }
  return versionsIn(root, name);
}

/**
 * Opens a version and verifies the digest of its model.onnx.
 *
 * @param version - default: the newest.
 * @throws MillraceError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_DIGEST_MISMATCH`.
 */
export async function openModel(root: string, name: string, version?: string): Promise<ModelVersion> {
  const opened = await locate(root, name, version);
  const { manifest } = await readModel(opened.folder);
  return { ...opened, manifest };
}

/** As {@link openModel}, without checking model.onnx. */
async function locate(root: string, name: string, version?: string): Promise<ModelVersion> {
  const versions = await listVersions(root, name);
  const wanted = version ?? versions[0];
  if (wanted === undefined || !versions.includes(wanted)) {
    throw new MillraceError(
      'MODEL_NOT_FOUND',
      `No version ${version ?? 'at all'} of model ${name} in ${root}. Versions: ${list(versions)}. A version is a folder with a model.json.`,
    );
  }
  const folder = join(root, name, wanted);
  const manifest = await readManifest(folder);
  requireIdentity(manifest, name, wanted, folder);
  return { name, version: wanted, folder, manifest };
}

/**
 * Finds the folder of a registered version by its model.json. model.onnx is checked when it is loaded.
 *
 * @param roots - searched in order. May not exist.
 * @throws MillraceError `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_DIGEST_MISMATCH` if only other content is
 *   found.
 */
export async function findVersion(
  roots: readonly string[],
  { name, version, digest }: { name: string; version: string; digest: string },
): Promise<ModelVersion> {
  let problem: unknown;
  for (const root of roots) {
    try {
      const found = await locate(root, name, version);
      if (isDigestOf(found.manifest, digest)) return found;
      problem = changedSince({ name, version, digest }, found);
    } catch (error) {
      problem = moreTelling(problem, error);
    }
  }
  throw problem;
}

/** The error of a folder whose content is not what was registered. It names the ways out. */
export function changedSince(
  { name, version, digest }: { name: string; version: string; digest: string },
  { folder, manifest }: ModelVersion,
): MillraceError {
  return new MillraceError(
    'MODEL_DIGEST_MISMATCH',
    `${folder} has the digest ${versionDigest(manifest)}, but ${name} ${version} is registered with ${digest}: it has changed since. A registered version can’t change. Put the new one into a new folder (models/${name}/${nextVersion(version)}, with that version in its model.json) and restore this one; or start with \`millrace up --dev\`, where a changed folder takes over as a new version; or unregister the old one: \`millrace models unregister ${name} ${version} --force\`.`,
  );
}

/** A version that is newer, for a suggestion. */
function nextVersion(version: string): string {
  return /^\d+$/.test(version) ? String(Number(version) + 1) : `${version}-2`;
}

/** Prefers the error of a broken version over that of a missing one. */
function moreTelling(one: unknown, other: unknown): unknown {
  return one instanceof MillraceError && one.code !== 'MODEL_NOT_FOUND' ? one : other;
}

/**
 * Reads a version folder once, so that the checked content is the content in use.
 *
 * @throws MillraceError `MODEL_NOT_FOUND` (a file is missing), `MODEL_INVALID`, `MODEL_DIGEST_MISMATCH`,
 * `MODEL_REFUSED` (model.onnx is invalid or has external tensors).
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
      `${onnxFile} has the SHA-256 ${digest}, but its model.json has ${manifest.digest}. The file is changed or incomplete: restore it, or export the model as a new version.`,
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
    throw new MillraceError('MODEL_REFUSED', `${file} was rejected: ${messageOf(error)}.`, { cause: error });
  }
}

async function readManifest(folder: string): Promise<ModelManifest> {
  const file = join(folder, 'model.json');
  return parseManifest((await readPart(file)).toString(), file);
}

/** With a manifest in the wrong folder, predictions would have the name of another model. */
function requireIdentity(manifest: ModelManifest, name: string, version: string, folder: string): void {
  if (manifest.name !== name || manifest.version !== version) {
    throw new MillraceError(
      'MODEL_INVALID',
      `${join(folder, 'model.json')} is of ${manifest.name} ${manifest.version}, but its folder is of ${name} ${version}. Rename one of them.`,
    );
  }
}

async function readPart(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new MillraceError(
      'MODEL_NOT_FOUND',
      `Cannot read ${file}: ${messageOf(error)}. A version folder contains model.onnx, model.json and golden.json.`,
      { cause: error },
    );
  }
}

async function foldersIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    // Folders with a leading dot are incomplete.
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

import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError } from '../../platform/errors.js';
import type { ModelLifecycle } from '../lifecycle/lifecycle.js';
import type { ModelState } from '../lifecycle/state.js';
import { readModel } from '../registry.js';
import { isDigestOf, versionDigest } from '../version-digest.js';
import { versionFiles } from './install.js';
import type { ModelRegistrar } from './registrar.js';

/** Source of what a changed folder caused. */
const source = 'millrace/dev';

/** Number of versions of changed folders that are kept for each model, besides those that an alias names. */
const keptVersions = 5;

export interface TakeOverOptions {
  lifecycle: ModelLifecycle;
  registrar: ModelRegistrar;
  /** The folder of registered versions. */
  root: string;
}

/** The folder of a version, in the project. */
export interface VersionFolder {
  model: string;
  version: string;
  folder: string;
}

/**
 * Takes a version folder that has changed into use: checks it, registers its content as version
 * `<version>+<first 12 hex digits of its digest>`, and promotes that. A folder of a new version keeps its
 * name. The version before answers until then, and for good if a check fails.
 *
 * @param before - digest of the folder's content before, if it is known: a file may change without its
 *   content.
 * @param isStart - whether it may have changed while nothing watched it: then a new version, or one that was
 *   rolled back since, does not take over.
 * @returns the digest of the content, and the version that took over, if one did.
 * @throws MillraceError `MODEL_INVALID`, `MODEL_NOT_FOUND`, `MODEL_DIGEST_MISMATCH` for an incomplete or
 *   inconsistent folder, and as {@link ModelRegistrar.register}.
 */
export async function takeOver(
  { model, version, folder }: VersionFolder,
  { lifecycle, registrar, root }: TakeOverOptions,
  { before, isStart = false }: { before?: string | undefined; isStart?: boolean } = {},
): Promise<{ digest: string; version?: string }> {
  const { manifest } = await readModel(folder);
  const digest = versionDigest(manifest);
  if (manifest.name !== model || manifest.version !== version)
    throw new MillraceError(
      'MODEL_INVALID',
      `${join(folder, 'model.json')} is of ${manifest.name} ${manifest.version}, but its folder is of ${model} ${version}. Rename one of them.`,
    );
  const { champion, versions } = lifecycle.get(model);
  // Without a champion the model is seeded as at any start.
  if (champion === undefined || digest === before) return { digest };
  const known = versions.get(version);
  // The digest of a version of an earlier release does not tell a change of model.json: what was there before
  // does.
  const isKnown = before === undefined && known !== undefined && isDigestOf(manifest, known.digest);
  const same = isKnown ? known : [...versions.values()].find((each) => each.digest === digest);
  if (same?.version === champion.version) return { digest };
  const isChanged = known !== undefined && same !== known;
  const wasChosen = same !== undefined && same.registeredAt <= champion.at;
  if (isStart && (!isChanged || wasChosen)) return { digest };
  const name = same?.version ?? (isChanged ? `${version}+${digest.slice(0, 12)}` : version);
  if (same === undefined) {
    if (isChanged) await removeLeftover(model, name, { lifecycle, root });
    const fill = (staging: string): Promise<void> => copyAs(name, folder, staging);
    await registrar.register(model, fill, { client: source, source: () => source, mayDiffer: true });
  }
  const state = await lifecycle.promote(model, name, source);
  for (const old of outdated(state)) {
    await lifecycle.unregister(model, old, {}, source);
    // In this order: a registered version without its folder could be promoted.
    await rm(join(root, model, old), { recursive: true, force: true });
  }
  return { digest, version: name };
}

/**
 * Removes the folder of a version that is not registered. A process that was killed while it registered or
 * removed the version, and `models unregister`, leave it. Its golden rows may be others, which its name does
 * not tell.
 */
async function removeLeftover(
  model: string,
  version: string,
  { lifecycle, root }: Pick<TakeOverOptions, 'lifecycle' | 'root'>,
): Promise<void> {
  await lifecycle.catchUp();
  const { champion, challenger, versions } = lifecycle.get(model);
  if (versions.has(version) || [champion?.version, challenger?.version].includes(version)) return;
  await rm(join(root, model, version), { recursive: true, force: true });
}

async function copyAs(version: string, from: string, to: string): Promise<void> {
  for (const file of versionFiles) await cp(join(from, file), join(to, file));
  const file = join(to, 'model.json');
  const manifest = JSON.parse(await readFile(file, 'utf8')) as object;
  await writeFile(file, JSON.stringify({ ...manifest, version }, undefined, 2));
}

/** Versions of changed folders that are too many. */
function outdated({ versions, champion, challenger }: ModelState): string[] {
  const used = new Set([champion?.version, champion?.previousVersion, challenger?.version]);
  return [...versions.values()]
    .filter(({ version, source: from }) => version.includes('+') && from === source && !used.has(version))
    .toSorted((a, b) => b.registeredAt - a.registeredAt)
    .slice(keptVersions)
    .map(({ version }) => version);
}

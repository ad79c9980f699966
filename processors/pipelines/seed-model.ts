import type { NewVersion } from '../../models/lifecycle/commands.js';
import type { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import { changedSince, listVersions, openModel } from '../../models/registry.js';
import { identityOf, isDigestOf } from '../../models/version-digest.js';
import { MillraceError } from '../../platform/errors.js';

export interface SeedOptions {
  lifecycle: ModelLifecycle;
  /** The folder of all models: `<folder>/<model>/<version>/`. */
  folder: string;
  /** Checks that a version folder can be loaded. @throws MillraceError if not. */
  check: (folder: string) => Promise<unknown>;
}

/**
 * Registers the new versions in a model's folder, and makes the newest one the champion if there is none.
 * Leaves out versions that can't be loaded, since a registered version can't be corrected in place, and those
 * that have changed since they were registered.
 *
 * @returns why versions are left out, the newest first; or why there are none.
 * @throws MillraceError of the log.
 */
export async function seedModel(
  model: string,
  { lifecycle, folder, check }: SeedOptions,
): Promise<MillraceError[]> {
  const problems: MillraceError[] = [];
  const attempt = async <Result>(action: () => Promise<Result>): Promise<Result | undefined> => {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      problems.push(error);
      return undefined;
    }
  };
  const { versions: registered } = lifecycle.get(model);
  const open = async (version: string): Promise<NewVersion> => {
    const opened = await openModel(folder, model, version);
    const known = registered.get(version);
    const identity = identityOf(opened.manifest);
    const isKnown =
      (known !== undefined && isDigestOf(opened.manifest, known.digest)) ||
      [...registered.values()].some(({ digest }) => digest === identity.digest);
    if (known !== undefined && !isKnown) throw changedSince({ name: model, ...known }, opened);
    if (isKnown) return identity;
    await check(opened.folder);
    const { manifest } = await openModel(folder, model, version);
    // What was tested may not be what is registered, while files are being copied into the folder.
    if (identityOf(manifest).digest === identity.digest) return identity;
    throw new MillraceError(
      'MODEL_INVALID',
      `${opened.folder} changed while it was tested. It is tried again.`,
    );
  };
  const versions: NewVersion[] = [];
  for (const version of (await attempt(() => listVersions(folder, model))) ?? []) {
    const opened = await attempt(() => open(version));
    if (opened !== undefined) versions.push(opened);
  }
  if (versions.length > 0) await lifecycle.seed(model, versions);
  return problems;
}

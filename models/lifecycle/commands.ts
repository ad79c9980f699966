import { MillraceError } from '../../platform/errors.js';
import type { ModelEvent } from '../../schemas/types.js';
import { isShare, type ModelState, type RegisteredVersion } from './state.js';

/** A version to register. Its folder is already validated. */
export interface NewVersion {
  version: string;
  /** See `versionDigest`. */
  digest: string;
  /** SHA-256 of model.onnx in lowercase hex, which earlier releases registered. */
  graphDigest?: string | undefined;
}

export interface ChallengerSettings {
  /**
   * Whether the challenger scores all events that it does not answer, its predictions marked as shadow.
   * Default false.
   */
  shadow?: boolean;
  /** Share of the record keys whose events it answers, 0 to 1. Default 0. */
  canaryShare?: number;
}

/**
 * An event to add to the log, without model, source and time, which the writer adds. Empty if nothing
 * changes.
 */
export type EventDraft = Omit<ModelEvent, 'model' | 'source' | 'at'>;

const plain = {
  version: null,
  digest: null,
  previous_version: null,
  shadow: false,
  canary_share: 0,
} as const;

/** A version is a folder name and part of a record key. A plus sign is in the versions of `up --dev`. */
const versionPattern = /^\w[\w.+-]{0,99}$/;

/**
 * Registers a version.
 *
 * @throws MillraceError `MODEL_INVALID` for an invalid version, `MODEL_CONFLICT` if the version is
 *   registered with another digest, or the digest as another version: prediction ids depend on the
 *   digest.
 */
export function register(state: ModelState, { version, digest, graphDigest }: NewVersion): EventDraft[] {
  if (!versionPattern.test(version)) {
    throw new MillraceError(
      'MODEL_INVALID',
      `Invalid version '${version}'. Use up to 100 letters, digits, dots, dashes, underscores and plus signs, and start with a letter, a digit or an underscore.`,
    );
  }
  const known = state.versions.get(version);
  if (known !== undefined && isSame(known, { version, digest, graphDigest })) return [];
  if (known !== undefined) {
    throw conflict(
      `${state.model} ${version} is already registered with the digest ${known.digest}, not ${digest}. A version cannot change: use a new one.`,
    );
  }
  const twin = [...state.versions.values()].find((other) => other.digest === digest);
  if (twin !== undefined) {
    throw conflict(
      `This model.onnx with the same runtime, inputs and outputs in model.json is already registered as ${state.model} ${twin.version}. Use that version.`,
    );
  }
  return [{ ...plain, kind: 'registered', version, digest }];
}

/**
 * Registers shipped versions that are new, and makes the first one the champion of a model that has none.
 * Never replaces a champion: only a command does.
 */
export function seed(state: ModelState, shipped: readonly NewVersion[]): EventDraft[] {
  const known = [...state.versions.values()];
  const unknown = shipped.filter(
    ({ version, digest }) => !known.some((other) => other.version === version || other.digest === digest),
  );
  const drafts = unknown.map(({ version, digest }): EventDraft => ({
    ...plain,
    kind: 'registered',
    version,
    digest,
  }));
  if (state.champion === undefined) {
    // Not one whose content has changed since it was registered.
    const usable = (each: NewVersion): NewVersion | undefined =>
      known.find((other) => isSame(other, each)) ?? (unknown.includes(each) ? each : undefined);
    const newest = shipped.map(usable).find((each) => each !== undefined);
    if (newest !== undefined)
      drafts.push({ ...plain, kind: 'champion', version: newest.version, digest: newest.digest });
  }
  return drafts;
}

/**
 * Makes a version the champion. If it is the challenger, removes it as challenger.
 *
 * @throws MillraceError `MODEL_NOT_FOUND` if the version is not registered.
 */
export function promote(state: ModelState, version: string): EventDraft[] {
  const { digest } = registered(state, version);
  const before = state.champion?.version ?? null;
  if (before === version) return [];
  const promoted: EventDraft = {
    ...plain,
    kind: 'champion',
    version,
    digest,
    previous_version: before,
  };
  return state.challenger?.version === version ? [promoted, ...clearChallenger(state)] : [promoted];
}

/**
 * Makes the previous champion the champion again. A second rollback reverts the first.
 *
 * @throws MillraceError `MODEL_CONFLICT` if there was no previous champion.
 */
export function rollback(state: ModelState): EventDraft[] {
  const previous = state.champion?.previousVersion ?? null;
  if (previous === null) {
    throw conflict(`${state.model} has no previous champion to roll back to.`);
  }
  return promote(state, previous);
}

/**
 * Makes a version the challenger, or changes the challenger's options.
 *
 * @throws MillraceError `MODEL_NOT_FOUND` if the version is not registered, `CANARY_SHARE_INVALID`, or
 *   `MODEL_CONFLICT` for the champion.
 */
export function challenge(
  state: ModelState,
  version: string,
  { shadow = false, canaryShare = 0 }: ChallengerSettings,
): EventDraft[] {
  const { digest } = registered(state, version);
  if (!isShare(canaryShare)) {
    throw new MillraceError(
      'CANARY_SHARE_INVALID',
      `The canary share is ${canaryShare}. It must be from 0 to 1.`,
    );
  }
  if (state.champion?.version === version) {
    throw conflict(`${state.model} ${version} is the champion and cannot be the challenger.`);
  }
  const { challenger } = state;
  const isSo =
    challenger?.version === version && challenger.shadow === shadow && challenger.canaryShare === canaryShare;
  if (isSo) return [];
  const previous = challenger?.version ?? null;
  return [
    {
      kind: 'challenger',
      version,
      digest,
      previous_version: previous,
      shadow,
      canary_share: canaryShare,
    },
  ];
}

/**
 * Removes a version from the registered ones. Its folder stays.
 *
 * @param force - also removes the champion: then the previous champion is the champion again or, without one,
 *   the model has none until the next start takes the newest version in the folder. Also removes the
 *   challenger.
 * @throws MillraceError `MODEL_NOT_FOUND`, or `MODEL_CONFLICT` for the champion or the challenger without
 *   `force`.
 */
export function unregister(
  state: ModelState,
  version: string,
  { force = false }: { force?: boolean } = {},
): EventDraft[] {
  registered(state, version);
  const { model, champion, challenger, versions } = state;
  const alias =
    champion?.version === version ? 'champion' : challenger?.version === version ? 'challenger' : undefined;
  if (alias !== undefined && !force) {
    const instead = alias === 'champion' ? `promote another version first` : `remove the challenger first`;
    throw conflict(
      `${model} ${version} is the ${alias} and was not unregistered: ${instead}, or use --force (HTTP: ?force=true).`,
    );
  }
  const gone: EventDraft = { ...plain, kind: 'registered', version };
  if (alias !== 'champion') return [...(alias === undefined ? [] : clearChallenger(state)), gone];
  const previous = versions.get(champion?.previousVersion ?? '');
  if (previous === undefined) return [{ ...plain, kind: 'champion', previous_version: version }, gone];
  const [restored, ...more] = promote(state, previous.version);
  return restored === undefined ? [gone] : [{ ...restored, previous_version: null }, ...more, gone];
}

/** Whether a version is registered, by its digest or, as in earlier releases, by that of its graph. */
function isSame(known: NewVersion, { version, digest, graphDigest }: NewVersion): boolean {
  return known.digest === digest || (known.version === version && known.digest === graphDigest);
}

/** Removes the challenger, if there is one. */
export function clearChallenger({ challenger }: ModelState): EventDraft[] {
  if (challenger === undefined) return [];
  return [{ ...plain, kind: 'challenger', previous_version: challenger.version }];
}

function registered({ model, versions }: ModelState, version: string): RegisteredVersion {
  const found = versions.get(version);
  if (found !== undefined) return found;
  const known = [...versions.keys()].join(', ') || 'none';
  throw new MillraceError(
    'MODEL_NOT_FOUND',
    `${model} has no version '${version}'. Registered versions: ${known}.`,
  );
}

function conflict(message: string): MillraceError {
  return new MillraceError('MODEL_CONFLICT', message);
}

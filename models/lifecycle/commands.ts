import { MillraceError } from '../../platform/errors.js';
import type { ModelEvent } from '../../schemas/types.js';
import { isShare, type ModelState, type RegisteredVersion } from './state.js';

/** A version to be registered. Its folder has been checked before. */
export interface NewVersion {
  version: string;
  /** SHA-256 of its model.onnx, lower-case hex. */
  digest: string;
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
 * What a command adds to the log, without what the writer knows: model, source and time. None: it is so
 * already.
 */
export type EventDraft = Omit<ModelEvent, 'model' | 'source' | 'at'>;

const plain = {
  version: null,
  digest: null,
  previous_version: null,
  shadow: false,
  canary_share: 0,
} as const;

/** Letters, digits, dots, dashes and underscores: a version is a folder's name and part of a record's key. */
const versionPattern = /^\w[\w.-]{0,99}$/;

/**
 * Makes a version known.
 *
 * @throws MillraceError `MODEL_INVALID` for a version that can be no folder, `MODEL_CONFLICT` when the
 *   version is known with other content, or the content as another version: a prediction's id follows from
 *   the digest.
 */
export function register(state: ModelState, { version, digest }: NewVersion): EventDraft[] {
  if (!versionPattern.test(version)) {
    throw new MillraceError(
      'MODEL_INVALID',
      `'${version}' can't be a version: use up to 100 letters, digits, dots, dashes and underscores, the first no dot or dash.`,
    );
  }
  const known = state.versions.get(version);
  if (known?.digest === digest) return [];
  if (known !== undefined) {
    throw conflict(
      `${state.model} ${version} is registered with the digest ${known.digest}, and this is ${digest}. A version never changes: use a new one.`,
    );
  }
  const twin = [...state.versions.values()].find((other) => other.digest === digest);
  if (twin !== undefined) {
    throw conflict(
      `This model.onnx is registered already, as ${state.model} ${twin.version}. Use that version.`,
    );
  }
  return [{ ...plain, kind: 'registered', version, digest }];
}

/**
 * Makes the versions known that ship with the program, as far as they are new, and the first of them the
 * champion of a model that has none. What serves changes by no other way than a command, so a newer version
 * that ships only waits.
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
  const [newest] = shipped;
  if (state.champion === undefined && newest !== undefined)
    drafts.push({ ...plain, kind: 'champion', version: newest.version, digest: newest.digest });
  return drafts;
}

/**
 * Makes a version the champion. If it is the challenger, it is that no longer.
 *
 * @throws MillraceError `MODEL_NOT_FOUND` for a version that is not registered.
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
 * Makes the version champion again that was so before. Once more, and it is as it was.
 *
 * @throws MillraceError `MODEL_CONFLICT` when there was none before.
 */
export function rollback(state: ModelState): EventDraft[] {
  const previous = state.champion?.previousVersion ?? null;
  if (previous === null) {
    throw conflict(`${state.model} had no other champion before: there is nothing to roll back to.`);
  }
  return promote(state, previous);
}

/**
 * Makes a version the challenger, or changes what the challenger does.
 *
 * @throws MillraceError `MODEL_NOT_FOUND` for a version that is not registered, `CANARY_SHARE_INVALID`, or
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
      `The canary share is ${canaryShare}: it has to be from 0 to 1.`,
    );
  }
  if (state.champion?.version === version) {
    throw conflict(`${state.model} ${version} is the champion: it can't challenge itself.`);
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
    `${model} has no version '${version}' that is registered. There are: ${known}.`,
  );
}

function conflict(message: string): MillraceError {
  return new MillraceError('MODEL_CONFLICT', message);
}

import { isDate } from '../../schemas/times.js';
import type { ModelEvent } from '../../schemas/types.js';

/** A registered version. */
export interface RegisteredVersion {
  version: string;
  /** See `versionDigest`; of an earlier release, the SHA-256 of model.onnx. */
  digest: string;
  /** Origin, such as `millrace/start`, `millrace/http`, or the server it was imported from. */
  source: string;
  /** Milliseconds since 1970, UTC. */
  registeredAt: number;
}

/** An alias with its version and event. */
export interface Alias {
  version: string;
  digest: string;
  /** Previous version of the alias. Null at first. */
  previousVersion: string | null;
  /** Offset of the alias event on `millrace.models`. */
  event: number;
  /** Time of the event, milliseconds since 1970, UTC. */
  at: number;
}

export interface Challenger extends Alias {
  /** Whether it scores all events that it does not answer, its predictions marked as shadow. */
  shadow: boolean;
  /** Share of the record keys whose events it answers, 0 to 1. */
  canaryShare: number;
}

/** Immutable state of one model. */
export interface ModelState {
  model: string;
  versions: ReadonlyMap<string, RegisteredVersion>;
  champion: Alias | undefined;
  challenger: Challenger | undefined;
}

/** Models by name. */
export type LifecycleState = ReadonlyMap<string, ModelState>;

/** Returns the record key of an event. Compaction keeps the newest record per key. */
export function modelEventKey({
  model,
  kind,
  version,
}: Pick<ModelEvent, 'model' | 'kind' | 'version'>): string {
  return kind === 'registered' ? `${model}/${version}` : `${model}@${kind}`;
}

/**
 * Returns the state after an event. Pure. Returns the same state for an invalid event, since any client may
 * write to the topic.
 *
 * @param offset - of the event's record.
 */
export function applyModelEvent(
  state: LifecycleState,
  event: ModelEvent,
  { key, offset }: { key: string; offset: number },
): LifecycleState {
  // Compaction works by key: an event with a wrong key could disappear or reappear.
  if (key !== modelEventKey(event) || !isDate(event.at)) return state;
  if (event.version !== null && !isFolderName(event.version)) return state;
  const before = state.get(event.model) ?? unknownModel(event.model);
  const after = applyToModel(before, event, offset);
  return after === before ? state : new Map(state).set(event.model, after);
}

/**
 * Whether a version names a folder, as each one does: paths are made of it. Start-up takes any folder's name.
 */
function isFolderName(version: string): boolean {
  return version !== '' && !version.startsWith('.') && !/[/\\\0]/.test(version);
}

/** Returns the state of a model without events. */
export function unknownModel(model: string): ModelState {
  return { model, versions: new Map(), champion: undefined, challenger: undefined };
}

function applyToModel(before: ModelState, event: ModelEvent, offset: number): ModelState {
  const { kind, version, digest, previous_version: previousVersion, at } = event;
  if (version === null) {
    const isSet = kind !== 'registered' && before[kind] !== undefined;
    return isSet ? { ...before, [kind]: undefined } : before;
  }
  if (digest === null) return kind === 'registered' ? withoutVersion(before, version) : before;
  if (kind === 'registered') {
    const registered = { version, digest, source: event.source, registeredAt: at };
    return { ...before, versions: new Map(before.versions).set(version, registered) };
  }
  const alias: Alias = { version, digest, previousVersion, event: offset, at };
  if (kind === 'champion') return { ...before, champion: alias };
  const { shadow, canary_share: canaryShare } = event;
  return isShare(canaryShare) ? { ...before, challenger: { ...alias, shadow, canaryShare } } : before;
}

/** An unregistered version. Its aliases have their own events. */
function withoutVersion(before: ModelState, version: string): ModelState {
  if (!before.versions.has(version)) return before;
  const versions = new Map(before.versions);
  versions.delete(version);
  return { ...before, versions };
}

/** Returns whether a number is from 0 to 1. */
export function isShare(value: number): boolean {
  return value >= 0 && value <= 1;
}

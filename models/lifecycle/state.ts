import { isDate } from '../../schemas/times.js';
import type { ModelEvent } from '../../schemas/types.js';

/** A version that may be used. */
export interface RegisteredVersion {
  version: string;
  /** SHA-256 of its model.onnx, lower-case hex. */
  digest: string;
  /** What registered it, such as `millrace/start`, `millrace/http`, or where it was imported from. */
  source: string;
  /** Milliseconds since 1970, UTC. */
  registeredAt: number;
}

/** An alias that names a version, and the event that made it so. */
export interface Alias {
  version: string;
  digest: string;
  /** What the alias named before; null at first. */
  previousVersion: string | null;
  /** Offset of the alias event on `millrace.models`. */
  event: number;
  /** When the event was made, milliseconds since 1970, UTC. */
  at: number;
}

export interface Challenger extends Alias {
  /** Whether it scores all events that it does not answer, its predictions marked as shadow. */
  shadow: boolean;
  /** Share of the record keys whose events it answers, 0 to 1. */
  canaryShare: number;
}

/** All that is known of one model. Never changed: a new event makes a new one. */
export interface ModelState {
  model: string;
  versions: ReadonlyMap<string, RegisteredVersion>;
  champion: Alias | undefined;
  challenger: Challenger | undefined;
}

/** Models by name. */
export type LifecycleState = ReadonlyMap<string, ModelState>;

/** The record key of an event: compaction keeps the newest record of each. */
export function modelEventKey({
  model,
  kind,
  version,
}: Pick<ModelEvent, 'model' | 'kind' | 'version'>): string {
  return kind === 'registered' ? `${model}/${version}` : `${model}@${kind}`;
}

/**
 * The state after one more event. Pure. An event that says nothing sensible (anybody may write to the topic)
 * changes nothing, and the same state comes back.
 *
 * @param offset - of the event's record.
 */
export function applyModelEvent(
  state: LifecycleState,
  event: ModelEvent,
  { key, offset }: { key: string; offset: number },
): LifecycleState {
  // Compaction goes by the key: an event under another key could vanish, or come back.
  if (key !== modelEventKey(event) || !isDate(event.at)) return state;
  const before = state.get(event.model) ?? unknownModel(event.model);
  const after = applyToModel(before, event, offset);
  return after === before ? state : new Map(state).set(event.model, after);
}

/** A model of which nothing is known yet. */
export function unknownModel(model: string): ModelState {
  return { model, versions: new Map(), champion: undefined, challenger: undefined };
}

function applyToModel(before: ModelState, event: ModelEvent, offset: number): ModelState {
  const { kind, version, digest, previous_version: previousVersion, at } = event;
  if (version === null || digest === null) {
    return kind === 'challenger' && version === null ? { ...before, challenger: undefined } : before;
  }
  if (kind === 'registered') {
    const registered = { version, digest, source: event.source, registeredAt: at };
    return { ...before, versions: new Map(before.versions).set(version, registered) };
  }
  const alias: Alias = { version, digest, previousVersion, event: offset, at };
  if (kind === 'champion') return { ...before, champion: alias };
  const { shadow, canary_share: canaryShare } = event;
  return isShare(canaryShare) ? { ...before, challenger: { ...alias, shadow, canaryShare } } : before;
}

/** Whether a number is a share: from 0 to 1. */
export function isShare(value: number): boolean {
  return value >= 0 && value <= 1;
}

import { hash } from 'node:crypto';
import type { ServedAlias, ServedModel } from '../../models/lifecycle/served-models.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Pipeline } from '../pipelines/pipeline.js';
import type { Role } from './score-with.js';

/** An event that fits its contract, and the key of its record. */
export interface KeyedEvent {
  fields: object;
  key: string;
}

/** Events that it is one version's turn to score. */
export interface Turn {
  model: string;
  alias: ServedAlias;
  role: Role;
  /** The events' fields, and where each event stands among all. */
  entries: { fields: object; index: number }[];
}

/** Names of a pipeline's models. */
export function modelsOf({ name, models = [name] }: Pipeline): readonly string[] {
  return models;
}

/** The model that is for an event, or why there is none: `FEATURES_INVALID`. */
export function modelFor(pipeline: Pipeline, fields: object): string | MillraceError {
  const models = modelsOf(pipeline);
  const { name } = pipeline;
  try {
    const model = pipeline.model?.(fields) ?? models[0] ?? name;
    if (models.includes(model)) return model;
    return unknownModel(`${name} chose the model '${model}', which is none of its own.`);
  } catch (error) {
    return unknownModel(`${name} chose no model: ${messageOf(error)}.`, error);
  }
}

/**
 * Whether the challenger answers the events of a key: the keys are spread evenly over 0 to 1 by their SHA-1, and those
 * below the share are its. So an entity stays with one version, in every process, and a larger share only adds keys.
 *
 * @param model - keys fall otherwise for another model, so that not the same entities meet every challenger.
 */
export function isCanary(key: string, model: string, share: number): boolean {
  if (share <= 0) return false;
  return hash('sha1', `${model}\n${key}`, 'buffer').readUIntBE(0, 6) / 2 ** 48 < share;
}

/** Whose turn it is to answer an event of this key: the champion's, or its challenger's as canary. */
export function answering(
  model: string,
  key: string,
  { champion, challenger }: ServedModel,
): { alias: ServedAlias; role: Role } {
  return challenger !== undefined && isCanary(key, model, challenger.canaryShare)
    ? { alias: challenger, role: 'canary' }
    : { alias: champion, role: 'champion' };
}

/** The challenger if it is to score an event of this key beside the version that answers it. */
export function shadowing(model: string, key: string, { challenger }: ServedModel): ServedAlias | undefined {
  return challenger?.shadow && !isCanary(key, model, challenger.canaryShare) ? challenger : undefined;
}

/** Gathers events by the version whose turn they are. */
export class Turns {
  readonly #byAlias = new Map<ServedAlias, Turn>();

  add(model: string, alias: ServedAlias, role: Role, fields: object, index: number): void {
    let turn = this.#byAlias.get(alias);
    if (turn === undefined) {
      turn = { model, alias, role, entries: [] };
      this.#byAlias.set(alias, turn);
    }
    turn.entries.push({ fields, index });
  }

  all(): Turn[] {
    return [...this.#byAlias.values()];
  }
}

function unknownModel(message: string, cause?: unknown): MillraceError {
  return new MillraceError('FEATURES_INVALID', message, { cause });
}

import { hash } from 'node:crypto';
import type { ServedAlias } from '../../models/lifecycle/model-slot.js';
import type { ServedModels } from '../../models/lifecycle/served-models.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Prediction } from '../../schemas/types.js';
import type { Pipeline } from '../pipelines/pipeline.js';

/**
 * The role in which a version scores an event: it answers as champion or canary, and only records as shadow.
 */
export type Role = Prediction['role'];

/** An event that fits its contract, and the key of its record. */
export interface KeyedEvent {
  fields: object;
  key: string;
}

/** Events that one version scores. */
export interface ModelAssignment {
  model: string;
  alias: ServedAlias;
  role: Role;
  /** The events' fields, and the index of each event among all routed ones. */
  events: { fields: object; index: number }[];
}

/** Decides which version of which model scores an event: champion, canary, and in addition a shadow. */
export class ModelRouter {
  readonly #pipeline: Pipeline;
  readonly #served: Pick<ServedModels, 'get'>;

  constructor(pipeline: Pipeline, served: Pick<ServedModels, 'get'>) {
    this.#pipeline = pipeline;
    this.#served = served;
  }

  /** The champion of a model. */
  champion(model: string): ServedAlias {
    return this.#served.get(model).champion;
  }

  /**
   * Returns the versions that answer events: the champion of the event's model or, for a share of the keys,
   * its challenger.
   *
   * @param onRefused - called for each event without a model, with its index and the reason.
   */
  route(
    events: readonly KeyedEvent[],
    onRefused: (index: number, reason: MillraceError) => void,
  ): ModelAssignment[] {
    const assignments = new Map<ServedAlias, ModelAssignment>();
    events.forEach(({ fields, key }, index) => {
      const model = modelFor(this.#pipeline, fields);
      if (model instanceof MillraceError) return onRefused(index, model);
      const { champion, challenger } = this.#served.get(model);
      if (challenger !== undefined && isCanary(key, model, challenger.canaryShare))
        assign(assignments, model, challenger, 'canary', fields, index);
      else assign(assignments, model, champion, 'champion', fields, index);
    });
    return [...assignments.values()];
  }

  /**
   * Returns the challengers in shadow that score events in addition to the version that answers; none for the
   * keys they answer.
   */
  shadows(events: readonly KeyedEvent[]): ModelAssignment[] {
    const assignments = new Map<ServedAlias, ModelAssignment>();
    if (!modelsOf(this.#pipeline).some((model) => this.#served.get(model).challenger?.shadow)) return [];
    events.forEach(({ fields, key }, index) => {
      const model = modelFor(this.#pipeline, fields);
      if (model instanceof MillraceError) return;
      const { challenger } = this.#served.get(model);
      if (challenger?.shadow && !isCanary(key, model, challenger.canaryShare))
        assign(assignments, model, challenger, 'shadow', fields, index);
    });
    return [...assignments.values()];
  }
}

/** Names of a pipeline's models. */
export function modelsOf({ name, models = [name] }: Pipeline): readonly string[] {
  return models;
}

/** Returns the model for an event, or the error `FEATURES_INVALID`. */
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
 * Whether the challenger answers the events of a key. SHA-1 spreads the keys evenly over 0 to 1, and the
 * challenger answers those below its share. So an entity keeps its version in every process, and a larger
 * share only adds keys.
 *
 * @param model - part of the hash, so that different models send different entities to their challengers.
 */
export function isCanary(key: string, model: string, share: number): boolean {
  if (share <= 0) return false;
  return hash('sha1', `${model}\n${key}`, 'buffer').readUIntBE(0, 6) / 2 ** 48 < share;
}

function assign(
  assignments: Map<ServedAlias, ModelAssignment>,
  model: string,
  alias: ServedAlias,
  role: Role,
  fields: object,
  index: number,
): void {
  let assignment = assignments.get(alias);
  if (assignment === undefined) {
    assignment = { model, alias, role, events: [] };
    assignments.set(alias, assignment);
  }
  assignment.events.push({ fields, index });
}

function unknownModel(message: string, cause?: unknown): MillraceError {
  return new MillraceError('FEATURES_INVALID', message, { cause });
}

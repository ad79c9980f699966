import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { ModelRuntime } from '../runtime.js';
import type { ModelLifecycle } from './lifecycle.js';
import { ModelSlot, type ServedModel } from './model-slot.js';
import type { Batching } from './served-version.js';

export interface ServedModelsOptions {
  lifecycle: ModelLifecycle;
  /** Names of the models to serve. */
  models: readonly string[];
  runtime: ModelRuntime;
  /** Folders with versions, `<root>/<name>/<version>/`; the first that has a version counts. */
  roots: readonly string[];
  batching: Batching;
  metrics: Metrics;
  logger: Logger;
}

/** The versions that score in this process: for each model its champion and, if it has one, its challenger. */
export class ServedModels {
  readonly #slots: ReadonlyMap<string, ModelSlot>;

  private constructor(slots: ReadonlyMap<string, ModelSlot>) {
    this.#slots = slots;
  }

  /**
   * Loads what the state of the models says, and from now on follows it: a version takes over when it is loaded and
   * proven on its golden rows, and the one before ends what it has begun. One that can't be loaded changes nothing, and is
   * tried again; {@link problems} names it.
   *
   * @throws MillraceError why a model's champion can't be loaded, if the one before can't either.
   */
  static async open(options: ServedModelsOptions): Promise<ServedModels> {
    const { lifecycle, models } = options;
    const slots = new Map(models.map((model) => [model, new ModelSlot(model, options)]));
    lifecycle.onChange((state) => {
      for (const [model, slot] of slots) {
        const wanted = state.get(model);
        if (wanted !== undefined) slot.update(wanted);
      }
    });
    const served = new ServedModels(slots);
    try {
      await Promise.all([...slots].map(([model, slot]) => slot.start(lifecycle.get(model))));
      return served;
    } catch (error) {
      served.close();
      throw error;
    }
  }

  /**
   * What serves a model now. The answer holds for this turn of the event loop: ask again after waiting for anything.
   *
   * @throws MillraceError `MODEL_NOT_FOUND` for a model that is not served here.
   */
  get(model: string): ServedModel {
    const served = this.#slots.get(model)?.served;
    if (served !== undefined) return served;
    throw new MillraceError('MODEL_NOT_FOUND', `There is no model '${model}' in this process.`);
  }

  /** What ought to serve and doesn't, in words; empty when all is as it should be. */
  problems(): string[] {
    return [...this.#slots.values()].flatMap((slot) => slot.problems);
  }

  /** Follows no more changes. The models stay loaded until the runtime is closed. */
  close(): void {
    for (const slot of this.#slots.values()) slot.close();
  }
}

import { MillraceError } from '../../platform/errors.js';
import { unknownModel } from './state.js';

import { ModelSlot, type ServedModel, type ServedModelsOptions } from './model-slot.js';
/**
 * The champion and the challenger of each model, loaded in this process. A model that can't be loaded does
 * not affect the others.
 */
export class ServedModels {
  readonly #slots = new Map<string, ModelSlot>();
  readonly #listeners = new Set<(model: string) => void>();
  readonly #options: ServedModelsOptions;

  /**
   * Follows changes of the lifecycle. A version takes over once it is loaded and verified on its golden rows,
   * and the previous one completes its calls. A version that cannot be loaded is retried and listed in
   * {@link problems}.
   */
  constructor(options: ServedModelsOptions) {
    this.#options = options;
    options.lifecycle.onChange((state) => {
      for (const [model, slot] of this.#slots) slot.update(state.get(model) ?? unknownModel(model));
    });
  }

  /** Serves a model from now on. Resolves when its versions are loaded or, for now, can't be. */
  async add(model: string): Promise<void> {
    let slot = this.#slots.get(model);
    if (slot === undefined) {
      slot = new ModelSlot(model, {
        ...this.#options,
        onChange: () => {
          for (const listener of this.#listeners) listener(model);
        },
      });
      this.#slots.set(model, slot);
    }
    await slot.start(() => this.#options.lifecycle.get(model));
  }

  /** Unloads a model that is no longer used. */
  remove(model: string): void {
    this.#slots.get(model)?.retire();
    this.#slots.delete(model);
  }

  /**
   * Returns the current versions of a model. Valid for this turn of the event loop: call again after an
   * await.
   *
   * @throws MillraceError `MODEL_NOT_SERVED`, retriable, if none is loaded here.
   */
  get(model: string): ServedModel {
    const served = this.find(model);
    if (served !== undefined) return served;
    const reason = this.problemsOf(model).join('; ') || `this process does not use it`;
    throw new MillraceError('MODEL_NOT_SERVED', `No version of ${model} is loaded: ${reason}.`, {
      retriable: true,
    });
  }

  /** As {@link get}; undefined if none is loaded here. */
  find(model: string): ServedModel | undefined {
    return this.#slots.get(model)?.served;
  }

  /** Descriptions of versions that should serve but do not. */
  problems(): string[] {
    return [...this.#slots.values()].flatMap((slot) => slot.problems);
  }

  /** As {@link problems}, of one model. */
  problemsOf(model: string): readonly string[] {
    return this.#slots.get(model)?.problems ?? [];
  }

  /** Calls `listener` with each model whose versions or problems have changed. */
  onChange(listener: (model: string) => void): void {
    this.#listeners.add(listener);
  }

  /** Stops following changes. The models stay loaded until the runtime is closed. */
  close(): void {
    for (const slot of this.#slots.values()) slot.close();
    this.#listeners.clear();
  }
}

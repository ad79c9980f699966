import { backoffMs } from '../../platform/backoff.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { ModelManifest } from '../manifest.js';
import { MicroBatcher, type MicroBatcherOptions, type RowResult } from '../micro-batcher.js';
import { findVersion } from '../registry.js';
import type { OutputShapes } from '../outputs.js';
import type { LoadedModel, ModelRuntime } from '../runtime.js';
import type { ModelRow } from '../tensors.js';
import type { ModelLifecycle } from './lifecycle.js';
import type { Alias, Challenger, ModelState } from './state.js';

export interface ServedModelsOptions {
  lifecycle: ModelLifecycle;
  /** Names of the models to serve. */
  models: readonly string[];
  runtime: ModelRuntime;
  /** Folders with versions, `<root>/<name>/<version>/`. The first one with a version wins. */
  roots: readonly string[];
  batching: Batching;
  metrics: Metrics;
  logger: Logger;
}

/**
 * The champion and the challenger of each model, loaded in this process.
 */
export class ServedModels {
  readonly #slots: ReadonlyMap<string, ModelSlot>;

  private constructor(slots: ReadonlyMap<string, ModelSlot>) {
    this.#slots = slots;
  }

  /**
   * Loads the versions in the state of the models, and follows changes. A version takes over once it is loaded
   * and verified on its golden rows, and the previous one completes its calls. A version that cannot be loaded
   * is retried and listed in {@link problems}.
   *
   * @throws MillraceError if neither a champion nor its predecessor can be loaded.
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
   * Returns the current versions of a model. Valid for this turn of the event loop: call again after an
   * await.
   *
   * @throws MillraceError `MODEL_NOT_FOUND` if the model is not served here.
   */
  get(model: string): ServedModel {
    const served = this.#slots.get(model)?.served;
    if (served !== undefined) return served;
    throw new MillraceError('MODEL_NOT_FOUND', `There is no model '${model}' in this process.`);
  }

  /** Descriptions of versions that should serve but do not. */
  problems(): string[] {
    return [...this.#slots.values()].flatMap((slot) => slot.problems);
  }

  /** Stops following changes. The models stay loaded until the runtime is closed. */
  close(): void {
    for (const slot of this.#slots.values()) slot.close();
  }
}

/** A loaded version and its alias event. */
export interface ServedAlias {
  version: ServedVersion;
  /** Offset of the event on `millrace.models`, -1 if unknown. */
  event: number;
  /** Time of the event, milliseconds since 1970, UTC. */
  at: number | null;
}

export interface ServedChallenger extends ServedAlias {
  shadow: boolean;
  canaryShare: number;
}

export interface ServedModel {
  champion: ServedAlias;
  challenger: ServedChallenger | undefined;
}

type SlotOptions = Omit<ServedModelsOptions, 'lifecycle' | 'models'>;

const retryLimits = { firstMs: 1_000, maxMs: 30_000 };

/**
 * One model in this process. Loads and retires versions to reach the wanted states, one after the other.
 */
class ModelSlot {
  readonly #model: string;
  readonly #options: SlotOptions;
  /** By digest. */
  readonly #loaded = new Map<string, ServedVersion>();
  /** Unset until the first state is reached. */
  served: ServedModel | undefined;
  problems: readonly string[] = [];
  #wanted: ModelState | undefined;
  #working = false;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(model: string, options: SlotOptions) {
    this.#model = model;
    this.#options = options;
  }

  /**
   * Loads the versions of the first state.
   *
   * @throws MillraceError if neither the champion nor its predecessor can be loaded.
   */
  async start(state: ModelState): Promise<void> {
    this.#wanted = state;
    await this.#work();
    if (this.served === undefined) {
      throw new MillraceError('MODEL_NOT_SERVED', `${this.problems.join('; ')}.`);
    }
  }

  /** Sets the next state to reach. */
  update(state: ModelState): void {
    if (state === this.#wanted || this.#closed) return;
    this.#wanted = state;
    this.#failures = 0;
    if (!this.#working) void this.#work();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  /** Never rejects: versions that cannot be loaded become problems. */
  async #work(): Promise<void> {
    clearTimeout(this.#retry);
    this.#working = true;
    let reached: ModelState | undefined;
    while (this.#wanted !== undefined && this.#wanted !== reached && !this.#closed) {
      reached = this.#wanted;
      await this.#reach(reached);
    }
    this.#working = false;
    if (this.problems.length > 0 && !this.#closed) this.#tryAgainLater();
  }

  #tryAgainLater(): void {
    this.#retry = setTimeout(() => void this.#work(), backoffMs(this.#failures++, retryLimits)).unref();
  }

  async #reach(state: ModelState): Promise<void> {
    const problems: string[] = [];
    const champion =
      (await this.#loadAlias('champion', state.champion, problems)) ??
      (await this.#previous(state, problems)) ??
      this.served?.champion;
    const challenger = await this.#loadAlias('challenger', state.challenger, problems);
    if (state.champion === undefined) problems.push(`${this.#model} has no champion`);
    if (this.#closed) return;
    if (champion !== undefined) {
      this.#serve({ champion, challenger: withSettings(challenger, champion, state.challenger) });
    }
    this.problems = problems;
    this.#retireUnused(state);
  }

  /**
   * Loads the version of an alias. Returns undefined if there is none or if it cannot be loaded, which is added
   * to `problems`.
   */
  async #loadAlias(
    name: string,
    alias: Alias | undefined,
    problems: string[],
  ): Promise<ServedAlias | undefined> {
    if (alias === undefined) return undefined;
    const version = await this.#load(name, alias, problems);
    return version && { version, event: alias.event, at: alias.at };
  }

  /**
   * Falls back to the previous champion if the champion cannot be loaded. The result is the same in every
   * process.
   */
  async #previous({ champion, versions }: ModelState, problems: string[]): Promise<ServedAlias | undefined> {
    const previous = versions.get(champion?.previousVersion ?? '');
    if (previous === undefined) return undefined;
    const served = this.served?.champion;
    if (served?.version.manifest.digest === previous.digest) return served;
    const version = await this.#load('champion in its place', previous, problems);
    return version && { version, event: -1, at: null };
  }

  async #load(
    name: string,
    { version, digest }: { version: string; digest: string },
    problems: string[],
  ): Promise<ServedVersion | undefined> {
    try {
      return await this.#loadVersion(version, digest);
    } catch (error) {
      const details = { err: error, model: this.#model, version };
      this.#options.logger.error(details, `the ${name} cannot be loaded; retrying`);
      problems.push(`${this.#model} ${version} cannot be loaded as ${name}: ${messageOf(error)}`);
      return undefined;
    }
  }

  async #loadVersion(version: string, digest: string): Promise<ServedVersion> {
    const loaded = this.#loaded.get(digest);
    if (loaded !== undefined) return loaded;
    const { runtime, roots, batching, metrics } = this.#options;
    const { folder } = await findVersion(roots, { name: this.#model, version, digest });
    const served = new ServedVersion(await runtime.load(folder), batching, metrics);
    this.#loaded.set(digest, served);
    return served;
  }

  /** The previous champion stays loaded for a fast rollback. */
  #retireUnused({ champion, versions }: ModelState): void {
    const used = new Set([this.served?.champion.version, this.served?.challenger?.version]);
    const previous = versions.get(champion?.previousVersion ?? '')?.digest;
    for (const [digest, version] of this.#loaded) {
      if (used.has(version) || digest === previous) continue;
      this.#loaded.delete(digest);
      void version.retire();
    }
  }

  #serve(served: ServedModel): void {
    const { logger, metrics } = this.#options;
    for (const alias of ['champion', 'challenger'] as const) {
      const [before, after] = [this.served?.[alias], served[alias]];
      if (before?.event === after?.event && before?.version === after?.version) continue;
      const labels = (each: ServedAlias) => [this.#model, alias, each.version.manifest.version] as const;
      if (before !== undefined) metrics.modelEvent.remove(...labels(before));
      if (after !== undefined) metrics.modelEvent.labels(...labels(after)).set(after.event);
      const version = after?.version.manifest.version ?? 'none';
      logger.info({ model: this.#model, version, event: after?.event }, `the ${alias} has changed`);
    }
    this.served = served;
  }
}

/**
 * Omits a challenger that also serves as champion because the new champion cannot be loaded.
 */
function withSettings(
  challenger: ServedAlias | undefined,
  champion: ServedAlias,
  settings: Challenger | undefined,
): ServedChallenger | undefined {
  if (challenger === undefined || settings === undefined || challenger.version === champion.version)
    return undefined;
  return { ...challenger, shadow: settings.shadow, canaryShare: settings.canaryShare };
}

/** Options for batching rows into model calls. */
export type Batching = Pick<MicroBatcherOptions, 'maxRows' | 'maxDelayMs' | 'maxInFlight'>;

/** A loaded version that batches the rows of all callers. */
export class ServedVersion {
  readonly manifest: ModelManifest;
  /** Of each named output: its dimensions in one row. */
  readonly outputShapes: OutputShapes;
  readonly #model: LoadedModel;
  readonly #batcher: MicroBatcher;
  #inFlight = 0;
  #onIdle: (() => void) | undefined;
  #retiring: Promise<void> | undefined;

  constructor(model: LoadedModel, batching: Batching, metrics: Metrics) {
    this.#model = model;
    this.manifest = model.manifest;
    this.outputShapes = model.outputShapes;
    const { name, version } = model.manifest;
    const batchRows = metrics.modelBatchRows.labels(name, version);
    const modelSeconds = metrics.modelSeconds.labels(name, version);
    this.#batcher = new MicroBatcher((rows) => model.predict(rows), {
      ...batching,
      onBatch: (rows, seconds) => {
        batchRows.observe(rows);
        modelSeconds.observe(seconds);
      },
    });
  }

  /**
   * Returns results in the order of `rows`; see {@link MicroBatcher.predict}. Completes a call made in the same
   * turn of the event loop in which the caller got the version, even if the version is retired meanwhile.
   */
  async predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    this.#inFlight += 1;
    try {
      return await this.#batcher.predict(rows);
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#onIdle?.();
    }
  }

  /** Unloads the model after all pending calls. */
  retire(): Promise<void> {
    this.#retiring ??= this.#retire();
    return this.#retiring;
  }

  async #retire(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.#model.unload();
  }
}

import { backoffMs } from '../../platform/backoff.js';
import { type MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { findVersion } from '../registry.js';
import type { ModelRuntime } from '../runtime.js';
import type { ModelLifecycle } from './lifecycle.js';
import type { Alias, Challenger, ModelState } from './state.js';

import { type Batching, ServedVersion } from './served-version.js';
export interface ServedModelsOptions {
  lifecycle: ModelLifecycle;
  /**
   * Called before a model without a champion is loaded: seeds it from its folder. Returns why its versions
   * there can't be used.
   */
  seed?: (model: string) => Promise<readonly MillraceError[]>;
  runtime: ModelRuntime;
  /** Folders with versions, `<root>/<name>/<version>/`. The first one with a version wins. */
  roots: readonly string[];
  batching: Batching;
  metrics: Metrics;
  logger: Logger;
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

export interface SlotOptions extends Omit<ServedModelsOptions, 'lifecycle'> {
  /** Called when the versions that serve, or the problems, have changed. */
  onChange: () => void;
}

const retryLimits = { firstMs: 1_000, maxMs: 30_000 };
/** While no version serves, and people may be waiting. */
const maxIdleMs = 4_000;

/**
 * One model in this process. Loads and retires versions to reach the wanted states, one after the other.
 */
export class ModelSlot {
  readonly #model: string;
  readonly #options: SlotOptions;
  /** By digest. */
  readonly #loaded = new Map<string, ServedVersion>();
  /** Unset until the first state is reached. */
  served: ServedModel | undefined;
  problems: readonly string[] = [];
  #wanted: ModelState | undefined;
  #seedProblems: readonly MillraceError[] = [];
  #starting: Promise<void> | undefined;
  #isStarted = false;
  #working = false;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(model: string, options: SlotOptions) {
    this.#model = model;
    this.#options = options;
  }

  /** Seeds the model, and loads its versions. Called again: waits for the same. */
  start(state: () => ModelState): Promise<void> {
    this.#starting ??= this.#start(state).catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    });
    return this.#starting;
  }

  async #start(state: () => ModelState): Promise<void> {
    this.#seedProblems = (await this.#options.seed?.(this.#model)) ?? [];
    this.#isStarted = true;
    this.#wanted = state();
    await this.#work({ isSeeded: true });
  }

  /** Sets the next state to reach. */
  update(state: ModelState): void {
    if (state === this.#wanted || this.#closed || !this.#isStarted) return;
    this.#wanted = state;
    this.#failures = 0;
    if (!this.#working) void this.#work();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  /** Also unloads the versions, after their calls. */
  retire(): void {
    this.close();
    for (const version of this.#loaded.values()) void version.retire();
    this.#loaded.clear();
  }

  /** Never rejects: versions that cannot be loaded become problems. */
  async #work({ isSeeded = false } = {}): Promise<void> {
    clearTimeout(this.#retry);
    this.#working = true;
    if (!isSeeded) await this.#seedAgain();
    let reached: ModelState | undefined;
    while (this.#wanted !== undefined && this.#wanted !== reached && !this.#closed) {
      reached = this.#wanted;
      await this.#reach(reached);
    }
    this.#working = false;
    if (this.problems.length > 0 && !this.#closed) this.#tryAgainLater();
  }

  /** A folder may have been added or corrected since. */
  async #seedAgain(): Promise<void> {
    const { seed, logger } = this.#options;
    if (seed === undefined || this.served !== undefined || this.#wanted?.champion !== undefined) return;
    try {
      this.#seedProblems = await seed(this.#model);
    } catch (error) {
      logger.warn({ err: error, model: this.#model }, 'a model cannot be seeded; retrying');
    }
  }

  #tryAgainLater(): void {
    const limits = this.served === undefined ? { ...retryLimits, maxMs: maxIdleMs } : retryLimits;
    this.#retry = setTimeout(() => void this.#work(), backoffMs(this.#failures++, limits)).unref();
  }

  async #reach(state: ModelState): Promise<void> {
    const problems: string[] = [];
    const champion =
      (await this.#loadAlias('champion', state.champion, problems)) ??
      (await this.#previous(state, problems)) ??
      this.served?.champion;
    const challenger = await this.#loadAlias('challenger', state.challenger, problems);
    if (state.champion === undefined) problems.push(this.#withoutChampion());
    if (this.#closed) return;
    if (champion !== undefined) {
      this.#serve({ champion, challenger: withSettings(challenger, champion, state.challenger) });
    }
    this.problems = problems;
    this.#retireUnused(state);
    this.#options.onChange();
  }

  #withoutChampion(): string {
    const reasons = this.#seedProblems.map(messageOf).join('; ');
    return `${this.#model} has no champion${reasons === '' ? '' : `: ${reasons}`}`;
  }

  /**
   * Loads the version of an alias. Returns undefined if there is none or if it cannot be loaded, which is
   * added to `problems`.
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
    if (served?.version.digest === previous.digest) return served;
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
    const served = new ServedVersion(await runtime.load(folder), batching, metrics, digest);
    // Once it is closed, nothing else would unload it.
    if (this.#closed) void served.retire();
    else this.#loaded.set(digest, served);
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

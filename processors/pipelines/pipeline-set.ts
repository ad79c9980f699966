import { MillraceError } from '../../platform/errors.js';
import { modelsOf } from '../scoring/model-router.js';
import type { OpenPipeline } from './open-pipelines.js';

/** Why a pipeline does not serve. Its requests, events, messages and file jobs wait. */
export class PipelineDown extends MillraceError {
  readonly pipeline: string;
  /** Its models, as far as they are known. */
  readonly models: readonly string[];
  /** What is wrong, and what to do. */
  readonly reason: string;

  constructor(pipeline: string, models: readonly string[], cause: MillraceError) {
    super('PIPELINE_DOWN', `The pipeline ${pipeline} is down: ${cause.message}`, { cause });
    this.pipeline = pipeline;
    this.models = models;
    this.reason = cause.message;
  }
}

/**
 * The pipelines of this process. Changes while it runs: find a pipeline whenever it is needed, and do not
 * keep it.
 */
export interface Pipelines extends ReadonlyMap<string, OpenPipeline> {
  /** Those that do not serve, by name. */
  readonly down: ReadonlyMap<string, PipelineDown>;
  /** Names of all whose topics exist, sorted: they serve or are down. */
  readonly names: readonly string[];
  /** Another number after each change. */
  readonly revision: number;
  /** @throws MillraceError `PIPELINE_DOWN`, or `PIPELINE_UNKNOWN` that names those that exist. */
  find(name: string): OpenPipeline;
  /** Names of the pipelines that use a model, whether they serve or not. */
  usersOf(model: string): string[];
  /** Calls `listener` with the name of each pipeline that has changed. Returns a function that ends this. */
  onChange(listener: (name: string) => void): () => void;
}

/** {@link Pipelines}, to be changed by those that open and close pipelines. */
export class PipelineSet extends Map<string, OpenPipeline> implements Pipelines {
  readonly down = new Map<string, PipelineDown>();
  readonly #names = new Set<string>();
  readonly #listeners = new Set<(name: string) => void>();
  #revision = 0;

  get names(): readonly string[] {
    return [...new Set([...this.#names, ...this.keys()])].toSorted();
  }

  get revision(): number {
    return this.#revision;
  }

  find(name: string): OpenPipeline {
    const pipeline = this.get(name);
    if (pipeline !== undefined) return pipeline;
    const down = this.down.get(name);
    if (down !== undefined) throw down;
    const names = [...this.keys(), ...this.down.keys()].toSorted().join(', ') || 'none';
    throw new MillraceError('PIPELINE_UNKNOWN', `There is no pipeline '${name}'. There are: ${names}.`);
  }

  usersOf(model: string): string[] {
    const open = [...this.values()].filter(({ pipeline }) => modelsOf(pipeline).includes(model));
    const down = [...this.down.values()].filter(({ models }) => models.includes(model));
    return [...open.map(({ name }) => name), ...down.map(({ pipeline }) => pipeline)];
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Notes that the topics of a pipeline exist. */
  addTopics(name: string): void {
    this.#names.add(name);
  }

  /** The pipeline serves from now on, in place of an earlier one of its name. */
  open(pipeline: OpenPipeline): void {
    const { name } = pipeline;
    if (this.get(name) === pipeline) return;
    this.down.delete(name);
    this.set(name, pipeline);
    this.#changed(name);
  }

  /** The pipeline does not serve from now on, for this reason. */
  takeDown(down: PipelineDown): void {
    const { pipeline: name, message } = down;
    if (this.down.get(name)?.message === message) return;
    this.delete(name);
    this.down.set(name, down);
    this.#changed(name);
  }

  /** The pipeline no longer exists. Its topics stay. */
  remove(name: string): void {
    this.delete(name);
    this.down.delete(name);
    this.#changed(name);
  }

  #changed(name: string): void {
    this.#revision++;
    for (const listener of this.#listeners) listener(name);
  }
}

import { join } from 'node:path';
import type { Config } from '../../platform/config.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { Mutex } from '../../platform/mutex.js';
import { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import { ServedModels } from '../../models/lifecycle/served-models.js';
import { VersionTrials } from '../../models/registration/version-trials.js';
import type { ModelRuntime } from '../../models/runtime.js';
import { type Contract, loadContract } from '../../schemas/contracts.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { pipelineTopics, pipelineTopicSpecs } from '../../streams/topics.js';
import {
  isPipelineName,
  isUsable,
  type LoadedPipeline,
  loadPipelines,
  modelsFolder,
  type UsablePipeline,
} from './load-pipelines.js';
import type { Pipeline } from './pipeline.js';
import { PipelineDown, type Pipelines, PipelineSet } from './pipeline-set.js';
import { misfitsOf } from './sample-rows.js';
import { seedModel } from './seed-model.js';
import { Scorer } from '../scoring/scorer.js';
import { modelsOf } from '../scoring/model-router.js';

/** A contract, and the registry id of its newest version. */
export interface RegisteredContract extends Contract {
  schemaId: number;
}

/** A pipeline with registered contracts and loaded models: ready to score. */
export interface OpenPipeline {
  name: string;
  pipeline: Pipeline;
  scorer: Scorer;
  event: RegisteredContract;
  prediction: RegisteredContract;
  topics: ReturnType<typeof pipelineTopics>;
}

export interface OpenPipelineOptions {
  config: Config;
  streams: Streams;
  serde: Serde;
  runtime: ModelRuntime;
  metrics: Metrics;
  logger: Logger;
}

/** Model stores: registered versions, then those of the project. */
export function modelRoots(config: Config): string[] {
  return [registeredModels(config), modelsFolder(config.MILLRACE_PROJECT)];
}

/** The folder of registered versions. */
export function registeredModels({ MODELS_DIR, DATA_DIR }: Config): string {
  return MODELS_DIR ?? join(DATA_DIR, 'models');
}

/**
 * Opens every pipeline of the project. One that can't be opened is down, and the others serve.
 *
 * @throws MillraceError when log or registry are unavailable (retriable) or refuse this process;
 *   `PROJECT_INVALID`.
 */
export async function openPipelines(options: OpenPipelineOptions): Promise<OpenPipelines> {
  const loaded = await loadPipelines(options.config.MILLRACE_PROJECT);
  const opened = new OpenPipelines(options, await ModelLifecycle.open(options));
  try {
    await Promise.all(loaded.map((each) => opened.load(each)));
    return opened;
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** All pipelines, and their models. */
export class OpenPipelines {
  readonly lifecycle: ModelLifecycle;
  readonly served: ServedModels;
  readonly #options: OpenPipelineOptions;
  readonly #set = new PipelineSet();
  /** Pipelines with registered contracts. They serve as soon as their models do. */
  readonly #prepared = new Map<string, OpenPipeline>();
  /** Changed forms that do not fit their models yet. */
  readonly #waiting = new Map<string, OpenPipeline>();
  /** Models in use, by pipeline. */
  readonly #models = new Map<string, readonly string[]>();
  readonly #turns = new Map<string, Mutex>();

  constructor(options: OpenPipelineOptions, lifecycle: ModelLifecycle) {
    const { config } = options;
    this.#options = options;
    this.lifecycle = lifecycle;
    const trials = new VersionTrials({ memoryMb: config.MODEL_TRIAL_MEMORY_MB });
    this.served = new ServedModels({
      ...options,
      lifecycle,
      roots: modelRoots(config),
      seed: (model) =>
        seedModel(model, {
          lifecycle,
          folder: modelsFolder(config.MILLRACE_PROJECT),
          // Not in this process: a graph may crash onnxruntime.
          check: (folder) => trials.check(folder),
        }),
      batching: {
        maxRows: config.SCORE_BATCH_SIZE,
        maxDelayMs: config.SCORE_BATCH_DELAY_MS,
        maxInFlight: config.MODEL_WORKERS + 1,
      },
    });
    this.served.onChange((model) => {
      for (const { name, pipeline } of this.candidates)
        if (modelsOf(pipeline).includes(model)) this.#review(name);
    });
  }

  get pipelines(): Pipelines {
    return this.#set;
  }

  /** The newest form of each pipeline, whether it serves or not: what a new version of a model has to fit. */
  get candidates(): OpenPipeline[] {
    return Array.from(this.#prepared.values(), (open) => this.#waiting.get(open.name) ?? open);
  }

  /**
   * Opens a pipeline, or replaces it by its changed form. A change that can't serve leaves the pipeline as it
   * is, if it serves.
   *
   * @returns why the change can't serve, if it can't.
   * @throws MillraceError when log or registry are unavailable (retriable) or refuse this process.
   */
  load(loaded: LoadedPipeline): Promise<MillraceError | undefined> {
    return this.#inTurn(loaded.name, async () => {
      try {
        await this.#open(loaded);
        return undefined;
      } catch (error) {
        if (error instanceof MillraceError && (error.retriable || error.misconfigured)) throw error;
        const problem = asProblem(loaded.name, error);
        this.#options.logger.error({ err: problem, pipeline: loaded.name }, 'a pipeline cannot be opened');
        if (!this.#set.has(loaded.name)) this.#takeDown(loaded, problem);
        return problem;
      }
    });
  }

  /** Closes a pipeline that no longer exists. Its topics stay. */
  remove(name: string): Promise<void> {
    return this.#inTurn(name, () => {
      this.#prepared.delete(name);
      this.#waiting.delete(name);
      this.#set.remove(name);
      this.#use(name, []);
      return Promise.resolve();
    });
  }

  /** Stops following the models. They stay loaded until the runtime is closed. */
  async close(): Promise<void> {
    this.served.close();
    await this.lifecycle.close();
  }

  async #open(loaded: LoadedPipeline): Promise<void> {
    const { name } = loaded;
    const { config, streams } = this.#options;
    if (isPipelineName(name)) {
      await streams.createTopics(pipelineTopicSpecs(name, config.TOPIC_PARTITIONS));
      this.#set.addTopics(name);
    }
    const before = this.#set.has(name) ? (this.#models.get(name) ?? []) : [];
    if (!this.#set.has(name)) this.#prepared.delete(name);
    this.#waiting.delete(name);
    const models = isUsable(loaded) ? modelsOf(loaded.pipeline) : [name];
    this.#use(name, [...before, ...models]);
    try {
      if (!isUsable(loaded)) throw loaded.problem;
      const prepared = await this.#prepare(loaded);
      await Promise.all(models.map((model) => this.served.add(model)));
      const problem = this.#problemOf(prepared);
      // The last good form goes on. Without one, the new form serves as soon as its models do.
      if (problem === undefined || !this.#set.has(name)) this.#prepared.set(name, prepared);
      else this.#waiting.set(name, prepared);
      if (problem !== undefined) throw problem;
      this.#show(prepared);
      this.#use(name, models);
    } catch (error) {
      // Also those of a pipeline that is down: a command on its models may repair it.
      this.#use(name, this.#set.has(name) ? before : models);
      throw error;
    }
  }

  async #prepare({ name, pipeline, contract }: UsablePipeline): Promise<OpenPipeline> {
    const { metrics, logger } = this.#options;
    const contracts = await registerContracts(name, contract, this.#options);
    const { schema } = contracts.event;
    const scorer = new Scorer({ pipeline, contract: schema, served: this.served, metrics, logger });
    return { name, pipeline, scorer, ...contracts };
  }

  /**
   * A version has changed: the pipeline may serve now, in its newest form or the last good one, or no longer.
   */
  #review(name: string): void {
    const waiting = this.#waiting.get(name);
    if (waiting !== undefined && this.#problemOf(waiting) === undefined) {
      this.#waiting.delete(name);
      this.#prepared.set(name, waiting);
    }
    const open = this.#prepared.get(name);
    if (open !== undefined) this.#show(open);
  }

  /** The pipeline serves if its models do and its features fit them; else it is down. */
  #show(open: OpenPipeline): void {
    const problem = this.#problemOf(open);
    if (problem === undefined) this.#set.open(open);
    else this.#takeDown(open, problem);
  }

  #problemOf(open: OpenPipeline): MillraceError | undefined {
    const unserved = modelsOf(open.pipeline).filter((model) => this.served.find(model) === undefined);
    const problems =
      unserved.length > 0 ? unserved.flatMap((model) => this.served.problemsOf(model)) : misfitsOf(open);
    if (problems.length === 0 && unserved.length > 0)
      problems.push(`${unserved.join(', ')} is not loaded yet`);
    if (problems.length === 0) return undefined;
    return new MillraceError('MODEL_NOT_SERVED', `${problems.join('; ')}.`, { retriable: false });
  }

  #takeDown(of: LoadedPipeline | OpenPipeline, problem: MillraceError): void {
    const models = 'pipeline' in of ? modelsOf(of.pipeline) : [of.name];
    this.#set.takeDown(new PipelineDown(of.name, models, problem));
  }

  /** Notes which models a pipeline uses, and unloads those that none uses. */
  #use(name: string, models: readonly string[]): void {
    this.#models.set(name, models);
    const used = new Set([...this.#models.values()].flat());
    for (const model of models) this.lifecycle.use(model);
    for (const model of this.lifecycle.models) {
      if (used.has(model)) continue;
      this.served.remove(model);
      this.lifecycle.disuse(model);
    }
  }

  #inTurn<T>(name: string, action: () => Promise<T>): Promise<T> {
    const mutex = this.#turns.get(name) ?? new Mutex();
    this.#turns.set(name, mutex);
    return mutex.run(action);
  }
}

/** The pipeline's own code may throw anything. */
function asProblem(name: string, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  return new MillraceError('PIPELINE_INVALID', `The pipeline ${name} can’t be opened: ${messageOf(error)}.`, {
    cause: error,
  });
}

async function registerContracts(
  name: string,
  eventContract: Contract,
  { serde, logger }: Pick<OpenPipelineOptions, 'serde' | 'logger'>,
): Promise<Pick<OpenPipeline, 'event' | 'prediction' | 'topics'>> {
  const topics = pipelineTopics(name);
  const register = async (topic: string, contract: Contract): Promise<RegisteredContract> => ({
    ...contract,
    schemaId: await serde.register(topic, contract.type),
  });
  const level = await serde.keepReadable(topics.events);
  if (typeof level === 'object')
    logger.warn(
      { topic: topics.events, reason: level.refused },
      'the registry does not keep producers to what can be read: set the level FULL_TRANSITIVE for its subject',
    );
  const [event, prediction] = await Promise.all([
    register(topics.events, eventContract),
    register(topics.predictions, loadContract('shared', 'prediction')),
    // For producers of outcomes.
    register(topics.outcomes, loadContract('shared', 'outcome')),
  ]);
  return { event, prediction, topics };
}

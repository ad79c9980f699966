import { join } from 'node:path';
import type { Config } from '../../platform/config.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { ModelLifecycle } from '../../models/lifecycle/lifecycle.js';
import { ServedModels } from '../../models/lifecycle/served-models.js';
import { listVersions, openModel } from '../../models/registry.js';
import type { ModelRuntime } from '../../models/runtime.js';
import { type Contract, loadContract } from '../../schemas/contracts.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { pipelineTopics } from '../../streams/topics.js';
import { loadUsablePipelines, modelsFolder } from './load-pipelines.js';
import type { Pipeline } from './pipeline.js';
import { misfitsOf } from './sample-rows.js';
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

/** All pipelines, and their models. */
export interface OpenPipelines {
  pipelines: ReadonlyMap<string, OpenPipeline>;
  lifecycle: ModelLifecycle;
  served: ServedModels;
  /** Champions that can't score the sample events of their pipelines, in words. */
  misfits: () => string[];
  /** Stops following the models. They stay loaded until the runtime is closed. */
  close(): Promise<void>;
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
 * Makes every pipeline ready. The topics must exist. A model without a champion gets the newest
 * version of the project.
 *
 * @throws MillraceError that names the failing contract, model, registry or log.
 */
export async function openPipelines(options: OpenPipelineOptions): Promise<OpenPipelines> {
  const { config, metrics, logger } = options;
  const pipelines = await loadUsablePipelines(config.MILLRACE_PROJECT);
  const models = pipelines.flatMap(({ pipeline }) => modelsOf(pipeline));
  const projectModels = modelsFolder(config.MILLRACE_PROJECT);
  const shipped = await Promise.all(
    models.map(async (model) => [model, await projectVersions(projectModels, model)] as const),
  );
  const lifecycle = await ModelLifecycle.open({ ...options, models });
  let served: ServedModels | undefined;
  const close = async (): Promise<void> => {
    served?.close();
    await lifecycle.close();
  };
  try {
    for (const [model, versions] of shipped) await lifecycle.seed(model, versions);
    const serving = await ServedModels.open({
      ...options,
      lifecycle,
      models,
      roots: modelRoots(config),
      batching: {
        maxRows: config.SCORE_BATCH_SIZE,
        maxDelayMs: config.SCORE_BATCH_DELAY_MS,
        maxInFlight: config.MODEL_WORKERS + 1,
      },
    });
    served = serving;
    const opened = await Promise.all(
      pipelines.map(async ({ name, pipeline, contract }): Promise<OpenPipeline> => {
        const contracts = await registerContracts(name, contract, options);
        const scorer = new Scorer({
          pipeline,
          contract: contracts.event.schema,
          served: serving,
          metrics,
          logger,
        });
        return { name, pipeline, scorer, ...contracts };
      }),
    );
    const misfits = (): string[] => opened.flatMap(misfitsOf);
    for (const misfit of misfits()) logger.error(misfit);
    return {
      pipelines: new Map(opened.map((open) => [open.name, open])),
      lifecycle,
      served,
      misfits,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Returns the newest version first. @throws MillraceError `MODEL_NOT_FOUND` when there is none. */
async function projectVersions(
  models: string,
  model: string,
): Promise<{ version: string; digest: string }[]> {
  const versions = await listVersions(models, model);
  const opened = await Promise.all(versions.map((version) => openModel(models, model, version)));
  return opened.map(({ version, manifest }) => ({ version, digest: manifest.digest }));
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

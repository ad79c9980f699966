import { join } from 'node:path';
import type { Config } from '../platform/config.js';
import type { Metrics } from '../platform/metrics.js';
import { projectRoot } from '../platform/paths.js';
import { openModel } from '../models/registry.js';
import type { LoadedModel, ModelRuntime } from '../models/runtime.js';
import { type Contract, loadContract } from '../schemas/contracts.js';
import type { Serde } from '../streams/serde.js';
import { pipelineTopics } from '../streams/topics.js';
import { loadPipelines, type Pipeline } from './pipeline.js';
import { Scorer } from './scorer.js';

/** Where model versions are kept. */
export const modelsFolder = join(projectRoot, 'models');

/** A contract, and the registry id that its newest version is written with. */
export interface RegisteredContract extends Contract {
  schemaId: number;
}

/** A pipeline with its contracts registered and its models loaded: ready to score. */
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
  serde: Serde;
  runtime: ModelRuntime;
  metrics: Metrics;
}

/**
 * Makes every pipeline ready, by name.
 *
 * @throws MillraceError that names the contract, model or registry that is at fault.
 */
export async function openPipelines(options: OpenPipelineOptions): Promise<Map<string, OpenPipeline>> {
  const opened = await Promise.all(
    (await loadPipelines()).map((pipeline) => openPipeline(pipeline, options)),
  );
  return new Map(opened.map((pipeline) => [pipeline.name, pipeline]));
}

async function openPipeline(pipeline: Pipeline, options: OpenPipelineOptions): Promise<OpenPipeline> {
  const { config, serde, runtime, metrics } = options;
  const { name } = pipeline;
  const topics = pipelineTopics(name);
  const register = async (topic: string, contract: Contract): Promise<RegisteredContract> => ({
    ...contract,
    schemaId: await serde.register(topic, contract.type),
  });
  const [event, prediction] = await Promise.all([
    register(topics.events, loadContract(name, 'event')),
    register(topics.predictions, loadContract('shared', 'prediction')),
    // For those who write outcomes.
    register(topics.outcomes, loadContract('shared', 'outcome')),
  ]);
  const scorer = new Scorer({
    pipeline,
    contract: event.schema,
    models: await loadModels(pipeline, runtime),
    metrics,
    batchSize: config.SCORE_BATCH_SIZE,
    batchDelayMs: config.SCORE_BATCH_DELAY_MS,
    maxInFlight: config.MODEL_WORKERS + 1,
  });
  return { name, pipeline, scorer, event, prediction, topics };
}

async function loadModels(
  { name, models = [] }: Pipeline,
  runtime: ModelRuntime,
): Promise<[LoadedModel, ...LoadedModel[]]> {
  const load = async (model: string): Promise<LoadedModel> =>
    runtime.load((await openModel(modelsFolder, model)).folder);
  const [first = name, ...others] = models;
  return Promise.all([load(first), ...others.map(load)]);
}

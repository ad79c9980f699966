import type { ModelLifecycle } from '../models/lifecycle/lifecycle.js';
import type { ServedModels } from '../models/lifecycle/served-models.js';
import { createModelRuntime } from '../models/runtime.js';
import type { Config } from '../platform/config.js';
import { retryForever } from '../platform/retry.js';
import { type OpenPipelines, openPipelines } from '../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import { systemTopicSpecs } from '../streams/topics.js';
import { connect, type Connections, type ThreadBase } from './connections.js';
import { downPipelines, modelsHealth, somePipeline, somePipelineHealth } from './health.js';
import type { Engines } from './start-engines.js';

/** Shared state of the roles in one thread. */
export interface Context extends Connections {
  pipelines: Pipelines;
  opened: OpenPipelines;
  lifecycle: ModelLifecycle;
  served: ServedModels;
}

/** A running part of Millrace: `serve`, `process`, `sink`, `schedule` or `bridge`. */
export interface Role {
  /** Stops taking work, and completes the work in progress. */
  stop(): Promise<void> | void;
}

/** A model call of this length delays other work of its thread as little as validating a request does. */
const maxOwnMs = 2;

/**
 * Connects to the engines and prepares what every role needs: topics, schemas and models. A pipeline that
 * can't be opened is down alone.
 *
 * @throws MillraceError if an engine is unavailable; the reason of `base.signal`.
 */
export async function openContext(config: Config, engines: Engines, base: ThreadBase): Promise<Context> {
  const connections = connect(config, engines, base);
  const { streams, serde, metrics, health, logger } = connections;
  const runtime = createModelRuntime({ workers: config.MODEL_WORKERS, maxOwnMs });
  let opened: OpenPipelines | undefined;
  const close = async (): Promise<void> => {
    await opened?.close();
    await runtime.close();
    await connections.close();
  };
  try {
    await retryForever('Creating topics', base, () => streams.createTopics(systemTopicSpecs()));
    opened = await retryForever('Opening the pipelines', base, () =>
      openPipelines({ config, streams, serde, runtime, metrics, logger }),
    );
    const { pipelines, lifecycle, served } = opened;
    health.add('models', () => modelsHealth(lifecycle, served.problems()));
    health.add(somePipeline, () => somePipelineHealth(pipelines));
    health.addSeparate(() => downPipelines(pipelines));
    return { ...connections, pipelines, opened, lifecycle, served, close };
  } catch (error) {
    await close();
    throw error;
  }
}

import { ConsumerLag } from './consumer-lag.js';
import { type Engines, findDamagedFiles, type Starting } from './start-engines.js';
import {
  damageHealth,
  downPipelines,
  modelsHealth,
  showHealth,
  somePipeline,
  somePipelineHealth,
} from './health.js';
import type { Health } from '../platform/health.js';
import type { ModelLifecycle } from '../models/lifecycle/lifecycle.js';
import type { ServedModels } from '../models/lifecycle/served-models.js';
import { createModelRuntime } from '../models/runtime.js';
import type { Config } from '../platform/config.js';
import type { Metrics } from '../platform/metrics.js';
import { retryForever } from '../platform/retry.js';
import { tlsOptions } from '../platform/tls-settings.js';
import { type OpenPipelines, openPipelines } from '../processors/pipelines/open-pipelines.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import { SchemaRegistryClient } from '../streams/schema-registry.js';
import { Serde } from '../streams/serde.js';
import { createStreams, type Streams } from '../streams/streams.js';
import { systemTopicSpecs } from '../streams/topics.js';

/** Shared state of the roles in one process. */
export interface Context extends Starting {
  config: Config;
  metrics: Metrics;
  health: Health;
  lag: ConsumerLag;
  streams: Streams;
  serde: Serde;
  analytics: Engines['analytics'];
  pipelines: Pipelines;
  opened: OpenPipelines;
  lifecycle: ModelLifecycle;
  served: ServedModels;
  close(): Promise<void>;
}

/** A running part of Millrace: `serve`, `process`, `sink`, `schedule` or `bridge`. */
export interface Role {
  /** Stops taking work, and completes the work in progress. */
  stop(): Promise<void> | void;
}

/**
 * Connects to the engines and prepares what every role needs: topics, schemas and models. A pipeline that can't be opened
 * is down alone.
 *
 * @throws MillraceError if an engine is unavailable; the reason of `base.signal`.
 */
export async function openContext(
  config: Config,
  engines: Engines,
  base: Starting & Pick<Context, 'metrics' | 'health'>,
): Promise<Context> {
  const { logger, metrics, health } = base;
  const streams = createStreams({
    ...kafkaSettings(config),
    brokers: engines.brokers,
    clientId: 'millrace',
    logger,
  });
  const registry = new SchemaRegistryClient(registryOptions(config, engines.registryUrl));
  const serde = new Serde(registry);
  const runtime = createModelRuntime({ workers: config.MODEL_WORKERS });
  showHealth(metrics.registry, health);
  // Added before the start waits for the engines: readiness shows why a start takes long.
  health.add('log', async () => {
    await streams.ping();
    return damageHealth(await findDamagedFiles(config));
  });
  health.add('registry', async () => {
    await registry.ping();
    return { status: 'up' };
  });
  let opened: OpenPipelines | undefined;
  const close = async (): Promise<void> => {
    await opened?.close();
    await runtime.close();
    await streams.close();
  };
  try {
    await retryForever('Creating topics', base, () => streams.createTopics(systemTopicSpecs()));
    opened = await retryForever('Opening the pipelines', base, () =>
      openPipelines({ config, streams, serde, runtime, metrics, logger }),
    );
    const { pipelines, lifecycle, served } = opened;
    const lag = new ConsumerLag(metrics.registry, streams);
    health.add('offsets', () => lag.health());
    health.add('models', () => modelsHealth(lifecycle, served.problems()));
    health.add(somePipeline, () => somePipelineHealth(pipelines));
    health.addSeparate(() => downPipelines(pipelines));
    return {
      ...base,
      config,
      lag,
      streams,
      serde,
      analytics: engines.analytics,
      pipelines,
      opened,
      lifecycle,
      served,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Returns the options of the schema registry from `SCHEMA_REGISTRY_USER`, `…_PASSWORD` and `SCHEMA_REGISTRY_TLS_*`. */
export function registryOptions(config: Config, url: string) {
  const { SCHEMA_REGISTRY_USER: username, SCHEMA_REGISTRY_PASSWORD: password } = config;
  return {
    url,
    tls: tlsOptions(config, 'SCHEMA_REGISTRY'),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  };
}

/** Returns the options of the log from `KAFKA_SASL_*`, `KAFKA_TLS*` and `TOPIC_REPLICATION`. */
export function kafkaSettings(config: Config) {
  const {
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: username,
    KAFKA_SASL_PASSWORD: password,
  } = config;
  const { KAFKA_TLS, TOPIC_REPLICATION: replicationFactor } = config;
  return {
    ...(mechanism === undefined || username === undefined || password === undefined
      ? {}
      : { sasl: { mechanism, username, password } }),
    ...(KAFKA_TLS ? { tls: tlsOptions(config, 'KAFKA') } : {}),
    ...(replicationFactor === undefined ? {} : { replicationFactor }),
  };
}

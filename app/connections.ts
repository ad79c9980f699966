import type { Config } from '../platform/config.js';
import type { Health } from '../platform/health.js';
import type { Metrics } from '../platform/metrics.js';
import { tlsOptions } from '../platform/tls-settings.js';
import { SchemaRegistryClient } from '../streams/schema-registry.js';
import { Serde } from '../streams/serde.js';
import { createStreams, type Streams } from '../streams/streams.js';
import { ConsumerLag } from './consumer-lag.js';
import { damageHealth } from './health.js';
import { type Engines, findDamagedFiles, type Starting } from './start-engines.js';

/** What a thread says of itself, and the end of its start. */
export interface ThreadBase extends Starting {
  metrics: Metrics;
  health: Health;
}

/** The engines of one thread. */
export interface Connections extends ThreadBase {
  config: Config;
  lag: ConsumerLag;
  streams: Streams;
  serde: Serde;
  analytics: Engines['analytics'];
  close(): Promise<void>;
}

/** Connects to the engines, without waiting for them. */
export function connect(config: Config, engines: Engines, base: ThreadBase): Connections {
  const { logger, metrics, health } = base;
  const streams = createStreams({
    ...kafkaSettings(config),
    brokers: engines.brokers,
    clientId: 'millrace',
    logger,
  });
  const registry = new SchemaRegistryClient(registryOptions(config, engines.registryUrl));
  // Added before the start waits for the engines: readiness shows why a start takes long.
  health.add('log', async () => {
    await streams.ping();
    return damageHealth(await findDamagedFiles(config));
  });
  health.add('registry', async () => {
    await registry.ping();
    return { status: 'up' };
  });
  const lag = new ConsumerLag(metrics.registry, streams);
  health.add('offsets', () => lag.health());
  return {
    ...base,
    config,
    lag,
    streams,
    serde: new Serde(registry),
    analytics: engines.analytics,
    close: () => streams.close(),
  };
}

/**
 * Returns the options of the schema registry from `SCHEMA_REGISTRY_USER`, `…_PASSWORD` and
 * `SCHEMA_REGISTRY_TLS_*`.
 */
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

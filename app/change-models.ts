import { ModelLifecycle } from '../models/lifecycle/lifecycle.js';
import type { Config } from '../platform/config.js';
import { silentLogger } from '../platform/logger.js';
import { SchemaRegistryClient } from '../streams/schema-registry.js';
import { Serde } from '../streams/serde.js';
import { createStreams } from '../streams/streams.js';
import { systemTopics } from '../streams/topics.js';
import { kafkaSettings, registryOptions } from './connections.js';
import { openDataFolder } from './data-folder.js';
import { startLogAlone } from './start-engines.js';

/**
 * Changes a model on the log while no API answers. Processes follow the change at once, or at their next
 * start. Without `KAFKA_BROKERS`, starts the embedded log of `DATA_DIR` for the time of the change.
 *
 * @param model - need not be in use.
 * @throws MillraceError `DATA_DIR_IN_USE` while another process has the embedded log, `NOT_RUNNING` if there
 *   is none, `TOPIC_MISSING` if no system has run on an external log; errors of the log, and of the change.
 */
export async function changeModelOnLog<Result>(
  config: Config,
  model: string,
  change: (lifecycle: ModelLifecycle) => Promise<Result>,
): Promise<Result> {
  const logger = silentLogger;
  const folder = config.KAFKA_BROKERS === undefined ? await openDataFolder(config.DATA_DIR) : undefined;
  try {
    const log = await startLogAlone(config, { logger }, kafkaSettings(config));
    const streams = createStreams({
      ...kafkaSettings(config),
      brokers: log.brokers,
      clientId: 'millrace-cli',
      logger,
    });
    try {
      await streams.ping();
      await streams.requireTopics([systemTopics.models]);
      const serde = new Serde(new SchemaRegistryClient(registryOptions(config, log.registryUrl)));
      const lifecycle = await ModelLifecycle.open({ streams, serde, logger, models: [model] });
      try {
        return await change(lifecycle);
      } finally {
        await lifecycle.close();
      }
    } finally {
      await streams.close();
      await log.stop();
    }
  } finally {
    await folder?.release();
  }
}

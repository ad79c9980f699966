import { logDamage, storageHealth } from '../analytics/damage.js';
import { migrate } from '../analytics/migrate.js';
import { ping } from '../analytics/queries.js';
import { retryForever } from '../platform/retry.js';
import { Sink } from '../processors/sink/sink.js';
import { loadContract } from '../schemas/contracts.js';
import { RestartableConsumption } from '../streams/restartable-consumption.js';
import { sinkGroup } from '../streams/topics.js';
import type { Pipelines } from '../processors/pipelines/pipeline-set.js';
import type { Connections } from './connections.js';
import type { Role } from './context.js';
import { whenNamesChange } from './names-change.js';
import { watchConsumption } from './health.js';

/** One batch is prepared while the other is inserted. */
export const concurrentInserts = 2;

/** The names of pipelines: it stores what they wrote, and needs no models. */
export type SinkContext = Connections & { pipelines: Pick<Pipelines, 'names' | 'onChange'> };

/**
 * Stores predictions, dead letters, outcomes and model events in ClickHouse. Waits for ClickHouse at the
 * start.
 */
export async function startSink(context: SinkContext): Promise<Role> {
  const { config, streams, serde, analytics, pipelines, metrics, logger, health, lag } = context;
  health.add('clickhouse', async () => {
    await ping(analytics.client);
    return storageHealth(analytics.client);
  });
  await retryForever('Creating the tables', context, () => migrate(analytics.client));
  await retryForever('Looking for damaged parts', context, () => logDamage(analytics.client, logger));
  const producer = await streams.createProducer();
  const contracts = {
    prediction: loadContract('shared', 'prediction'),
    outcome: loadContract('shared', 'outcome'),
    modelEvent: loadContract('shared', 'model-event'),
  };
  const consumption = await RestartableConsumption.start(async () => {
    const options = { analytics, serde, producer, metrics, logger, ...contracts };
    const sink = new Sink({ ...options, pipelines: pipelines.names });
    lag.track(sinkGroup, sink.topics);
    return streams.consume({
      groupId: sinkGroup,
      topics: sink.topics,
      sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
      // When an insert fails, streams/batch-consumer.ts calls again with the same records.
      handle: (records, earlier) => sink.store(records, earlier),
      maxBatch: config.SINK_BATCH_ROWS,
      maxWaitMs: config.SINK_BATCH_DELAY_MS,
      concurrentCalls: concurrentInserts,
    });
  });
  const ignore = whenNamesChange(pipelines, () => consumption.restart(), logger);
  watchConsumption(context, 'sink', consumption);
  return {
    stop: async () => {
      ignore();
      await consumption.stop();
      await producer.close();
    },
  };
}

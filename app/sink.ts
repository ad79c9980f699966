import { logDamage, storageHealth } from '../analytics/damage.js';
import { migrate } from '../analytics/migrate.js';
import { ping } from '../analytics/queries.js';
import { retryForever } from '../platform/retry.js';
import { Sink } from '../processors/sink/sink.js';
import { loadContract } from '../schemas/contracts.js';
import { sinkGroup } from '../streams/topics.js';
import type { Context, Role } from './context.js';
import { watchConsumption } from './health.js';

/** One batch is prepared while the other is inserted. */
export const concurrentInserts = 2;

/** Stores predictions, dead letters, outcomes and model events in ClickHouse. Waits for ClickHouse at the start. */
export async function startSink(context: Context): Promise<Role> {
  const { config, streams, serde, analytics, pipelines, metrics, logger, health, lag } = context;
  health.add('clickhouse', async () => {
    await ping(analytics.client);
    return storageHealth(analytics.client);
  });
  await retryForever('Creating the tables', context, () => migrate(analytics.client));
  await retryForever('Looking for damaged parts', context, () => logDamage(analytics.client, logger));
  const producer = await streams.createProducer();
  const sink = new Sink({
    pipelines: [...pipelines.keys()],
    client: analytics.client,
    serde,
    prediction: loadContract('shared', 'prediction'),
    outcome: loadContract('shared', 'outcome'),
    modelEvent: loadContract('shared', 'model-event'),
    producer,
    metrics,
    logger,
  });
  const groupId = sinkGroup;
  const consumption = await streams.consume({
    groupId,
    topics: sink.topics,
    sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
    // When an insert fails, streams/batch-consumer.ts calls again with the same records.
    handle: (records, earlier) => sink.store(records, earlier),
    maxBatch: config.SINK_BATCH_ROWS,
    maxWaitMs: config.SINK_BATCH_DELAY_MS,
    concurrentCalls: concurrentInserts,
  });
  lag.track(groupId, sink.topics);
  watchConsumption(context, 'sink', consumption);
  return {
    stop: async () => {
      await consumption.stop();
      await producer.close();
    },
  };
}

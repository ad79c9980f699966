import pRetry from 'p-retry';
import { migrate } from '../../analytics/migrate.js';
import { ping } from '../../analytics/queries.js';
import { MillraceError } from '../../platform/errors.js';
import { Sink } from '../../processors/sink.js';
import { loadContract } from '../../schemas/contracts.js';
import { consumptionHealth, type Context, type Role } from '../context.js';

/** Stores predictions, dead letters and outcomes in ClickHouse. Starts when ClickHouse does, however long that takes. */
export async function startSink(context: Context): Promise<Role> {
  const { config, streams, serde, analytics, pipelines, metrics, logger, health } = context;
  health.add('clickhouse', async () => {
    await ping(analytics.client);
    return { status: 'up' };
  });
  await pRetry(() => migrate(analytics.client), {
    retries: Number.POSITIVE_INFINITY,
    maxTimeout: 5_000,
    shouldRetry: ({ error }) => error instanceof MillraceError && error.retriable,
    onFailedAttempt: ({ error }) =>
      logger.warn({ err: error }, 'the tables can’t be made ready; trying again'),
  });
  const producer = await streams.createProducer();
  const sink = new Sink({
    pipelines: [...pipelines.keys()],
    client: analytics.client,
    serde,
    prediction: loadContract('shared', 'prediction'),
    outcome: loadContract('shared', 'outcome'),
    producer,
    metrics,
    logger,
  });
  const consumption = await streams.consume({
    groupId: 'millrace-sink',
    topics: sink.topics,
    sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
    handle: (records) => sink.store(records),
    maxBatch: config.SINK_BATCH_ROWS,
    maxWaitMs: config.SINK_BATCH_DELAY_MS,
  });
  health.add('sink', () => consumptionHealth(consumption));
  return {
    stop: async () => {
      await consumption.stop();
      await producer.close();
    },
  };
}

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClickHouseClient } from '@clickhouse/client';
import { type Analytics, createAnalytics } from '../../analytics/client.js';
import { migrate } from '../../analytics/migrate.js';
import type { PredictionRow } from '../../analytics/rows.js';
import { concurrentInserts } from '../../app/sink.js';
import { Chdb } from '../../embedded/clickhouse/chdb.js';
import { startClickHouseEndpoint } from '../../embedded/clickhouse/endpoint.js';
import { loadConfig } from '../../platform/config.js';
import { silentLogger } from '../../platform/logger.js';
import { toPredictionRow } from '../../processors/scoring/prediction.js';
import { Sink } from '../../processors/sink/sink.js';
import { StreamScorer } from '../../processors/scoring/stream-scorer.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Prediction } from '../../schemas/types.js';
import { untilCommitted } from '../../streams/testing/until-committed.js';
import type { Benchmark } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { type BenchLog, openBenchLog } from '../bench-log.js';

const rounds = 5;

/** Predictions on the log, the columns of their rows, and the sink's batch sizes. */
interface Stored {
  /** The last offset of each partition. */
  ends: Record<number, number>;
  columns: string[];
  batchSizes: number[];
}

export const benchmark: Benchmark = {
  question: 'How close does the way from the log into ClickHouse come to a client that only inserts?',
  method:
    'The sink stores a topic of predictions as a new consumer group with the default settings. The bare client then inserts ' +
    'the same rows in the batches that the sink made, one after the other: rows are ready in memory, no log, no decoding, no ' +
    'checks, no deduplication token. It writes objects as JSONEachRow, and ' +
    'in a third turn arrays as JSONCompactEachRow, which have no names of columns; the sink copies columns (chDB) or writes TabSeparated (HTTP). ' +
    'Both write into the emptied table of the embedded engine, once through chDB in the same process, once over its HTTP ' +
    'endpoint. Timed to the end of the last insert.',
  caveats: [
    'The sink’s time starts when it has joined its group: reading the first records counts, joining does not.',
    'The sink reads and decodes the next rows, and makes the next insert ready, while ClickHouse works on the last ones; the bare client only waits. On one ' +
      'core that would not help.',
    'Through the endpoint, server and client are one process.',
  ],
  async run(scale, progress) {
    const count = Math.ceil(100_000 * scale);
    const log = await openBenchLog();
    const chdb = await Chdb.open(join(log.folder, 'clickhouse'));
    const embedded = createAnalytics({ connection: chdb.connection() });
    await migrate(embedded.client);
    const endpoint = await startClickHouseEndpoint({ host: '127.0.0.1', port: 0, chdb });
    const overHttp = createAnalytics({ url: `http://127.0.0.1:${endpoint.port}` });
    progress(`writing ${count} predictions`);
    const { ends, rows } = await fillPredictions(log, count);
    const arrays = rows.map((row) => Object.values(row));
    const figures = [];
    for (const [way, analytics] of [
      ['chDB', embedded],
      ['HTTP', overHttp],
    ] as const) {
      progress(`${way}, ${rounds} rounds`);
      const stored: Stored = { ends, columns: Object.keys(rows[0] ?? {}), batchSizes: [] };
      const perSecond = (run: () => Promise<number>) => async () => {
        for (const table of ['predictions_storage', 'predictions_by_time_storage'])
          await analytics.client.command({ query: `TRUNCATE TABLE millrace.${table}` });
        return count / (await run());
      };
      const samples = await inTurn(rounds, {
        sink: perSecond(() => timeSink(log, analytics, stored)),
        bare: perSecond(() => timeBareClient(analytics.client, 'JSONEachRow', rows, stored)),
        arrays: perSecond(() => timeBareClient(analytics.client, 'JSONCompactEachRow', arrays, stored)),
      });
      figures.push(
        figure(`sink ÷ bare client, ${way}`, 'ratio', ratios(samples.sink, samples.bare), { atLeast: 0.9 }),
        figure(`sink ÷ bare client with arrays, ${way}`, 'ratio', ratios(samples.sink, samples.arrays)),
        figure(`sink, ${way}`, 'rows/s', samples.sink),
        figure(`bare client, ${way}`, 'rows/s', samples.bare),
        figure(`bare client with arrays, ${way}`, 'rows/s', samples.arrays),
        figure(`rows in an insert, ${way}`, 'rows', stored.batchSizes),
      );
    }
    await overHttp.close();
    await endpoint.stop();
    await log.close();
    await embedded.close();
    return figures;
  },
};

/**
 * Scores events into the topic of predictions; returns the last offset of each partition, and the predictions
 * as rows.
 */
async function fillPredictions(
  log: BenchLog,
  count: number,
): Promise<Pick<Stored, 'ends'> & { rows: PredictionRow[] }> {
  const { topics, prediction } = log.pipeline;
  const ends = await log.fill(count);
  const scorer = new StreamScorer(log);
  const rows: PredictionRow[] = [];
  const groupId = 'bench-fill';
  const scoring = await log.streams.transform({
    groupId,
    topics: [topics.events],
    process: async (records) => {
      const predictions = await scorer.process(records);
      for (const { value } of predictions)
        rows.push(toPredictionRow(log.serde.decode(value, prediction.type) as Prediction));
      return predictions;
    },
  });
  await untilCommitted(log.streams, { groupId, topic: topics.events, offsets: ends, timeoutMs: 120_000 });
  await scoring.stop();
  // The lag of a new group is the end of the topic.
  const lags = await log.streams.lag('bench-none', [topics.predictions]);
  return { rows, ends: Object.fromEntries(lags.map(({ partition, lag }) => [partition, lag - 1])) };
}

let groups = 0;

/**
 * Returns the seconds from joining the group to the end of the last insert; notes the sizes of its batches.
 */
async function timeSink(log: BenchLog, analytics: Analytics, stored: Stored): Promise<number> {
  const config = loadConfig(process.env);
  const { serde, metrics, pipeline } = log;
  const producer = await log.streams.createProducer();
  const prediction = loadContract('shared', 'prediction');
  const sink = new Sink({
    pipelines: [pipeline.name],
    analytics,
    serde,
    prediction,
    outcome: loadContract('shared', 'outcome'),
    modelEvent: loadContract('shared', 'model-event'),
    producer,
    metrics,
    logger: silentLogger,
  });
  const batchSizes: number[] = [];
  let last = 0;
  const groupId = `bench-sink-${++groups}`;
  const topic = pipeline.topics.predictions;
  const consumption = await log.streams.consume({
    groupId,
    topics: [topic],
    maxBatch: config.SINK_BATCH_ROWS,
    maxWaitMs: config.SINK_BATCH_DELAY_MS,
    concurrentCalls: concurrentInserts,
    handle: async (records) => {
      batchSizes.push(records.length);
      await sink.store(records);
      last = performance.now();
    },
  });
  while (!consumption.status().ok) await sleep(1);
  const joined = performance.now();
  await untilCommitted(log.streams, { groupId, topic, offsets: stored.ends, timeoutMs: 120_000 });
  await consumption.stop();
  await producer.close();
  stored.batchSizes = batchSizes;
  return (last - joined) / 1000;
}

async function timeBareClient(
  client: ClickHouseClient,
  format: 'JSONEachRow' | 'JSONCompactEachRow',
  rows: readonly (PredictionRow | unknown[])[],
  { columns, batchSizes }: Stored,
): Promise<number> {
  const started = performance.now();
  let from = 0;
  for (const size of batchSizes) {
    await client.insert({
      table: 'millrace.predictions_storage',
      columns: columns as [string, ...string[]],
      values: rows.slice(from, (from += size)),
      format,
      clickhouse_settings: { async_insert: 0, date_time_input_format: 'best_effort' },
    });
  }
  return (performance.now() - started) / 1000;
}

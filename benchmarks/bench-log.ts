import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKafka } from '../embedded/kafka/start.js';
import { createModelRuntime } from '../models/runtime.js';
import { loadConfig } from '../platform/config.js';
import { silentLogger } from '../platform/logger.js';
import { createMetrics, type Metrics } from '../platform/metrics.js';
import { newEventId } from '../processors/events/ids.js';
import { type OpenPipeline, openPipelines } from '../processors/pipelines/open-pipelines.js';
import { seededRandom } from '../processors/pipelines/sampler.js';
import { cloudEventHeaders } from '../streams/cloud-events.js';
import type { NewRecord } from '../streams/records.js';
import { SchemaRegistryClient } from '../streams/schema-registry.js';
import { Serde } from '../streams/serde.js';
import { createStreams, type Streams } from '../streams/streams.js';
import { pipelineTopicSpecs, systemTopicSpecs } from '../streams/topics.js';

/**
 * The embedded broker and registry in their own thread, with the credit-default pipeline, as in `millrace
 * up`.
 */
export interface BenchLog {
  folder: string;
  streams: Streams;
  serde: Serde;
  metrics: Metrics;
  pipeline: OpenPipeline;
  /** Writes events to the log like those of HTTP clients, and returns the last offset of each partition. */
  fill(count: number): Promise<Record<number, number>>;
  close(): Promise<void>;
}

const partitions = loadConfig({}).TOPIC_PARTITIONS;

export async function openBenchLog(): Promise<BenchLog> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  const log = await startKafka({ dataDir: join(folder, 'log'), port: 0, registryPort: 0 });
  const brokers = [`127.0.0.1:${log.port}`];
  const streams = createStreams({ brokers, clientId: 'bench', logger: silentLogger });
  const serde = new Serde(new SchemaRegistryClient({ url: `http://127.0.0.1:${log.registryPort}` }));
  const metrics = createMetrics();
  const runtime = createModelRuntime();
  await streams.createTopics([...pipelineTopicSpecs('credit-default', partitions), ...systemTopicSpecs()]);
  const config = loadConfig({ DATA_DIR: folder });
  const opened = await openPipelines({ config, streams, serde, runtime, metrics, logger: silentLogger });
  const pipeline = opened.pipelines.get('credit-default');
  if (pipeline === undefined) throw new Error('There is no pipeline credit-default.');
  return {
    folder,
    streams,
    serde,
    metrics,
    pipeline,
    fill: (count) => fill(streams, serde, pipeline, count),
    close: async () => {
      await opened.close();
      await streams.close();
      await runtime.close();
      await log.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Returns realistic, different events, from a fixed seed. */
export function sampleEvents({ pipeline }: OpenPipeline, count: number): object[] {
  const random = seededRandom(7);
  return Array.from({ length: count }, () => pipeline.sample?.(random) ?? {});
}

async function fill(
  streams: Streams,
  serde: Serde,
  pipeline: OpenPipeline,
  count: number,
): Promise<Record<number, number>> {
  const producer = await streams.createProducer();
  const { schemaId, type } = pipeline.event;
  const events = sampleEvents(pipeline, 5_000);
  const last: Record<number, number> = {};
  for (let from = 0; from < count; from += events.length) {
    const records = events.slice(0, count - from).map((event): NewRecord => {
      const id = newEventId();
      const time = new Date().toISOString();
      return {
        topic: pipeline.topics.events,
        key: id,
        value: serde.encode(schemaId, type, event),
        headers: cloudEventHeaders({ id, source: 'bench', type: `millrace.${pipeline.name}.event`, time }),
      };
    });
    for (const { partition, offset } of await producer.send(records)) last[partition] = offset;
  }
  await producer.close();
  return last;
}

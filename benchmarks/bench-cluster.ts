import { readFileSync } from 'node:fs';
import { packageRoot } from '../platform/paths.js';
import { silentLogger } from '../platform/logger.js';
import { retryForever } from '../platform/retry.js';
import { newEventId } from '../processors/events/ids.js';
import { loadPipeline } from '../processors/pipelines/load-pipelines.js';
import { seededRandom } from '../processors/pipelines/sampler.js';
import { loadContract } from '../schemas/contracts.js';
import type { Prediction } from '../schemas/types.js';
import { cloudEventHeaders } from '../streams/cloud-events.js';
import type { NewRecord } from '../streams/records.js';
import { SchemaRegistryClient } from '../streams/schema-registry.js';
import { Serde } from '../streams/serde.js';
import { createStreams, type Streams } from '../streams/streams.js';
import { pipelineTopics, pipelineTopicSpecs, scoringGroup, type TopicSpec } from '../streams/topics.js';
import { freePorts, killPrograms, type Program, startProgram } from '../tests/system/programs.js';
import { makeFolder, until, whenUp } from './bench-system.js';
import { fetchApacheKafka } from './peer-programs.js';

const pipeline = 'credit-default';
/** Of events that are made once and written many times. */
const distinctEvents = 5_000;

/** Apache Kafka and a schema registry, each a process, for scorers in processes. */
export interface Cluster {
  brokers: string[];
  brokerPid: number;
  registryUrl: string;
  /** For temporary files. */
  folder: string;
  streams: Streams;
  /** Decodes the value of a prediction's record. */
  readPrediction(value: Buffer | null): Prediction;
  /** Registry ids of the contracts. */
  schemaIds: { event: number; prediction: number };
  /** Creates topics with the partitions of all others. */
  createTopics(specs: readonly Omit<TopicSpec, 'partitions'>[]): Promise<void>;
  /** Writes realistic events with new ids over all partitions: always the same ones, one after the other. */
  fill(count: number, topic?: string): Promise<void>;
  /** Starts scorers together; resolves when all are members of their group. */
  startScorers(copies: number): Promise<Program[]>;
  /** Unscored events. */
  lag(group?: string, topic?: string): Promise<number>;
  /** Waits until a scorer has finished the rest. */
  whenScored(): Promise<void>;
  close(): Promise<void>;
}

export interface ClusterOptions {
  partitions: number;
  /** Options of the broker's JVM; default: those of tests. */
  jvmOptions?: readonly string[];
  /** Whether events have no time of their own, but the one at which the broker appended them. */
  brokerTimes?: boolean;
}

export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { partitions, jvmOptions, brokerTimes = false } = options;
  fetchApacheKafka();
  const { ApacheKafka } = await import('../tests/system/engines/apache-kafka.js');
  // Time for which the first member of a group waits for others: copies that start together share the work
  // from the start.
  const settings = {
    'group.initial.rebalance.delay.ms': 5_000,
    ...(brokerTimes ? { 'log.message.timestamp.type': 'LogAppendTime' } : {}),
  };
  const kafka = await ApacheKafka.start({ settings, ...(jvmOptions === undefined ? {} : { jvmOptions }) });
  const { folder, remove } = await makeFolder();
  const { registry } = await freePorts('registry');
  const KAFKA_BROKERS = kafka.brokers.join(',');
  startProgram('tests/system/engines/schema-registry.js', [], {
    KAFKA_BROKERS,
    SCHEMA_REGISTRY_PORT: String(registry),
  });
  const registryUrl = `http://127.0.0.1:${registry}`;
  const streams = createStreams({ brokers: kafka.brokers, clientId: 'bench', logger: silentLogger });
  const serde = new Serde(new SchemaRegistryClient({ url: registryUrl }));
  const topics = pipelineTopics(pipeline);
  await streams.createTopics(pipelineTopicSpecs(pipeline, partitions));
  await until(() =>
    fetch(`${registryUrl}/subjects`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  const { type } = loadContract(pipeline, 'event');
  const predictionType = loadContract('shared', 'prediction').type;
  const register = async () => ({
    event: await serde.register(topics.events, type),
    prediction: await serde.register(topics.predictions, predictionType),
  });
  const schemaIds = await retryForever('Registering', { logger: silentLogger }, register);
  const { sample } = (await loadPipeline(packageRoot, pipeline)).pipeline;
  const random = seededRandom(7);
  const values = Array.from({ length: distinctEvents }, () =>
    serde.encode(schemaIds.event, type, sample?.(random) ?? {}),
  );
  const producer = await streams.createProducer();
  let made = 0;

  const makeEvents = (count: number, topic = topics.events): NewRecord[] =>
    Array.from({ length: count }, () => {
      const id = newEventId();
      const time = new Date().toISOString();
      const attributes = { id, source: 'bench', type: `millrace.${pipeline}.event`, time };
      const { ce_time, ...headers } = cloudEventHeaders(attributes);
      return {
        topic,
        key: id,
        value: values[made++ % values.length] ?? null,
        headers: brokerTimes ? headers : { ...headers, ce_time: ce_time ?? time },
      };
    });

  const lag = async (group = scoringGroup(pipeline), topic = topics.events): Promise<number> =>
    (await streams.lag(group, [topic])).reduce((sum, each) => sum + each.lag, 0);

  const startScorers = async (copies: number): Promise<Program[]> => {
    const started = await Promise.all(
      Array.from({ length: copies }, async () => {
        const { PORT } = await freePorts('PORT');
        const program = startProgram('cli/main.js', ['process'], {
          PORT: String(PORT),
          KAFKA_BROKERS,
          SCHEMA_REGISTRY_URL: registryUrl,
          CLICKHOUSE_URL: 'http://127.0.0.1:9',
          DATA_DIR: folder,
          TOPIC_PARTITIONS: String(partitions),
          LOG_LEVEL: 'warn',
        });
        return { program, http: `http://127.0.0.1:${PORT}` };
      }),
    );
    for (const { program, http } of started) await whenUp(program, http);
    return started.map(({ program }) => program);
  };

  return {
    brokers: kafka.brokers,
    brokerPid: kafka.pid,
    registryUrl,
    folder,
    streams,
    readPrediction: (value) => serde.decode(value, predictionType) as Prediction,
    schemaIds,
    createTopics: (specs) => streams.createTopics(specs.map((spec) => ({ ...spec, partitions }))),
    async fill(count, topic) {
      for (let written = 0; written < count; written += 5_000)
        await producer.send(makeEvents(Math.min(5_000, count - written), topic));
    },
    startScorers,
    lag,
    async whenScored() {
      const [scorer] = await startScorers(1);
      await until(async () => (await lag()) === 0);
      scorer?.signal('SIGTERM');
      await scorer?.exited;
    },
    async close() {
      await streams.close();
      await killPrograms();
      await kafka.stop();
      await remove();
    },
  };
}

/** Returns the processor time of a process so far, of all its threads (Linux). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // After the name, which may contain spaces, the state is the first field: user and system time are the 12th
  // and 13th.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticksPerSecond = 100;
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

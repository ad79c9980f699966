import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger } from '../../platform/logger.js';
import { retryForever } from '../../platform/retry.js';
import { newEventId } from '../../processors/events/ids.js';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';
import { seededRandom } from '../../processors/pipelines/sampler.js';
import { loadContract } from '../../schemas/contracts.js';
import { cloudEventHeaders } from '../../streams/cloud-events.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams } from '../../streams/streams.js';
import { pipelineTopics, pipelineTopicSpecs, scoringGroup } from '../../streams/topics.js';
import { ApacheKafka } from '../../tests/system/engines/apache-kafka.js';
import {
  freePorts,
  killPrograms,
  type Program,
  readiness,
  startProgram,
} from '../../tests/system/programs.js';
import { makeFolder } from '../bench-system.js';

const pipeline = 'credit-default';
const partitions = 12;

/** Apache Kafka and a schema registry, each a process, for scorers in processes. */
export interface Cluster {
  brokerPid: number;
  /** Writes events, over all partitions. */
  fill(count: number): Promise<void>;
  /** Starts scorers together; resolves when all are members of their group. */
  startScorers(copies: number): Promise<Program[]>;
  /** Unscored events. */
  lag(): Promise<number>;
  /** Waits until a scorer has finished the rest. */
  whenScored(): Promise<void>;
  close(): Promise<void>;
}

export async function openCluster(): Promise<Cluster> {
  // Time for which the first member of a group waits for others: copies that start together share the work
  // from the start.
  const kafka = await ApacheKafka.start({ settings: { 'group.initial.rebalance.delay.ms': 5_000 } });
  const { folder, remove } = await makeFolder();
  const { registry } = await freePorts('registry');
  const KAFKA_BROKERS = kafka.brokers.join(',');
  startProgram('tests/system/engines/schema-registry.js', [], {
    KAFKA_BROKERS,
    SCHEMA_REGISTRY_PORT: String(registry),
  });
  const url = `http://127.0.0.1:${registry}`;
  const streams = createStreams({ brokers: kafka.brokers, clientId: 'bench', logger: silentLogger });
  const serde = new Serde(new SchemaRegistryClient({ url }));
  const topics = pipelineTopics(pipeline);
  await streams.createTopics(pipelineTopicSpecs(pipeline, partitions));
  await until(() =>
    fetch(`${url}/subjects`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  const { type } = loadContract(pipeline, 'event');
  const register = () => serde.register(topics.events, type);
  const schemaId = await retryForever('Registering', { logger: silentLogger }, register);
  const sample = (await loadPipeline(packageRoot, pipeline)).pipeline.sample;
  const random = seededRandom(7);
  const producer = await streams.createProducer();

  const lag = async (): Promise<number> =>
    (await streams.lag(scoringGroup(pipeline), [topics.events])).reduce((sum, each) => sum + each.lag, 0);

  const startScorers = async (copies: number): Promise<Program[]> => {
    const started = await Promise.all(
      Array.from({ length: copies }, async () => {
        const { PORT } = await freePorts('PORT');
        const program = startProgram('cli/main.js', ['process'], {
          PORT: String(PORT),
          KAFKA_BROKERS,
          SCHEMA_REGISTRY_URL: url,
          CLICKHOUSE_URL: 'http://127.0.0.1:9',
          DATA_DIR: folder,
          TOPIC_PARTITIONS: String(partitions),
          LOG_LEVEL: 'warn',
        });
        return { program, http: `http://127.0.0.1:${PORT}` };
      }),
    );
    for (const { program, http } of started) {
      await until(async () => {
        if (program.hasExited()) throw new Error(program.output());
        return (await readiness(http)).status === 'up';
      });
    }
    return started.map(({ program }) => program);
  };

  return {
    brokerPid: kafka.pid,
    async fill(count) {
      for (let written = 0; written < count; written += 5_000) {
        const records = Array.from({ length: Math.min(5_000, count - written) }, () => {
          const id = newEventId();
          const time = new Date().toISOString();
          return {
            topic: topics.events,
            key: id,
            value: serde.encode(schemaId, type, sample?.(random) ?? {}),
            headers: cloudEventHeaders({ id, source: 'bench', type: `millrace.${pipeline}.event`, time }),
          };
        });
        await producer.send(records);
      }
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

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done())) await sleep(50);
}

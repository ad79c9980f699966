import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readModel } from '../models/registry.js';
import { versionDigest } from '../models/version-digest.js';
import { packageRoot } from '../platform/paths.js';
import type { StreamRecord } from '../streams/records.js';
import { pipelineTopics, scoringGroup } from '../streams/topics.js';
import { type Program, startCommand } from '../tests/system/programs.js';
import { type Cluster, cpuSeconds, openCluster } from './bench-cluster.js';
import { until } from './bench-system.js';

// Millrace's scorer beside those of other programs: each a process of its own that reads events from a topic
// of its own, on one Apache Kafka.

const pipeline = 'credit-default';
const modelFolder = join(packageRoot, 'models', pipeline, '1');
const modelDigest = versionDigest((await readModel(modelFolder)).manifest);
/**
 * Of the heap of a broker in production use, as far as this machine allows; and not the compiler for short
 * runs.
 */
const brokerJvm = ['-Xmx1g', '-XX:+UseG1GC'];

export interface Scorer {
  program: Program;
  group: string;
  events: string;
  predictions: string;
}

/** How fast a backlog was scored. */
export interface Speed {
  perSecond: number;
  /** Processor time of the scorer and of the broker for an event, microseconds. */
  scorerMicros: number;
  brokerMicros: number;
}

export async function openScorerCluster(): Promise<Cluster> {
  return openCluster({ partitions: 6, jvmOptions: brokerJvm, brokerTimes: true });
}

/** Starts `millrace process`. */
export async function startMillrace(cluster: Cluster): Promise<Scorer> {
  const { events, predictions } = pipelineTopics(pipeline);
  const [program] = await cluster.startScorers(1);
  if (program === undefined) throw new Error('No scorer has started.');
  return whenWarm(cluster, { program, group: scoringGroup(pipeline), events, predictions });
}

/**
 * Starts another program that scores as Millrace does, and makes its topics.
 *
 * @param name - of its group, and the beginning of its topics' names.
 * @param settings - environment variables beside those that each of them gets.
 */
export async function startPeer(
  cluster: Cluster,
  name: string,
  command: readonly [string, ...string[]],
  settings: Record<string, string> = {},
): Promise<Scorer> {
  const [events, predictions] = [`${name}.events`, `${name}.predictions`];
  await cluster.createTopics([{ name: events }, { name: predictions }]);
  const [start, ...args] = command;
  const program = startCommand(start, args, {
    BROKERS: cluster.brokers.join(','),
    GROUP: name,
    EVENTS: events,
    PREDICTIONS: predictions,
    EVENT_SCHEMA: join(packageRoot, 'schemas', pipeline, 'event.v1.avsc'),
    EVENT_SCHEMA_ID: String(cluster.schemaIds.event),
    PREDICTION_SCHEMA: join(packageRoot, 'schemas', 'shared', 'prediction.v3.avsc'),
    PREDICTION_SCHEMA_ID: String(cluster.schemaIds.prediction),
    MODEL: join(modelFolder, 'model.onnx'),
    MODEL_CARD: join(modelFolder, 'model.json'),
    MODEL_DIGEST: modelDigest,
    STATE: join(cluster.folder, name),
    ...settings,
  });
  return whenWarm(cluster, { program, group: name, events, predictions });
}

/** Lets a scorer score some events, which also tells that it has its partitions. */
async function whenWarm(cluster: Cluster, scorer: Scorer): Promise<Scorer> {
  await cluster.fill(20_000, scorer.events);
  await whenScored(cluster, scorer);
  return scorer;
}

async function whenScored(cluster: Cluster, { program, group, events }: Scorer): Promise<void> {
  await until(async () => {
    if (program.hasExited()) throw new Error(`A scorer has ended:\n${program.output().slice(-6_000)}`);
    return (await cluster.lag(group, events)) === 0;
  });
}

/**
 * Halts a scorer while a backlog is written, then lets it score: from the first commit after a tenth of it to
 * the first one after nine tenths.
 */
export async function scoreBacklog(cluster: Cluster, scorer: Scorer, count: number): Promise<Speed> {
  const { program, group, events } = scorer;
  program.signal('SIGSTOP');
  await cluster.fill(count, events);
  program.signal('SIGCONT');
  const take = async () => ({
    lag: await cluster.lag(group, events),
    at: performance.now(),
    scorer: cpuSeconds(program.pid),
    broker: cpuSeconds(cluster.brokerPid),
  });
  const whenLeft = async (share: number) => {
    for (;;) {
      const taken = await take();
      if (taken.lag <= count * share) return taken;
      if (program.hasExited()) throw new Error(`A scorer has ended:\n${program.output().slice(-6_000)}`);
      await sleep(10);
    }
  };
  const first = await whenLeft(0.9);
  const last = await whenLeft(0.1);
  await whenScored(cluster, scorer);
  const scored = first.lag - last.lag;
  return {
    perSecond: (scored / (last.at - first.at)) * 1000,
    scorerMicros: ((last.scorer - first.scorer) / scored) * 1e6,
    brokerMicros: ((last.broker - first.broker) / scored) * 1e6,
  };
}

/**
 * Checks that two scorers have written the same predictions: one for each event, and for the same features
 * the same score, label and outputs.
 */
export async function assertSameScores(cluster: Cluster, ours: Scorer, theirs: Scorer): Promise<void> {
  const [a, b] = [await readAnswers(cluster, ours), await readAnswers(cluster, theirs)];
  for (const [features, answer] of b)
    if (a.get(features) !== answer)
      throw new Error(`${theirs.predictions} has ${answer} for ${features}, and not ${a.get(features)}.`);
  if (a.size !== b.size)
    throw new Error(`${theirs.predictions} has answers for ${b.size} of ${a.size} events.`);
}

/** Returns the answer for each distinct event. */
async function readAnswers(cluster: Cluster, { events, predictions }: Scorer): Promise<Map<string, string>> {
  const answers = new Map<string, string>();
  const ids = new Set<string>();
  await readAll(cluster, predictions, (record) => {
    const { prediction_id, event_id, features, score, label, outputs } = cluster.readPrediction(record.value);
    if (ids.has(prediction_id) || record.key?.toString() !== event_id)
      throw new Error(`${predictions} has ${prediction_id} twice, or under the key of another event.`);
    ids.add(prediction_id);
    answers.set(features, JSON.stringify({ score: score.toFixed(6), label, outputs: roundNumbers(outputs) }));
  });
  let written = 0;
  await readAll(cluster, events, () => written++);
  if (ids.size !== written)
    throw new Error(`${predictions} has ${ids.size} predictions of ${written} events.`);
  return answers;
}

/** ONNX Runtime's builds may differ in the last bits. */
function roundNumbers(outputs: string | null): unknown {
  return JSON.parse(outputs ?? '{}', (_key, value: unknown) =>
    typeof value === 'number' ? value.toFixed(6) : value,
  );
}

async function readAll(cluster: Cluster, topic: string, each: (record: StreamRecord) => void): Promise<void> {
  await cluster.streams.whenSettled(topic);
  const ends = await cluster.streams.ends(topic);
  const spans = ends.map(({ partition, low, high }) => ({ topic, partition, from: low, to: high }));
  await cluster.streams.read(spans, (records) => records.forEach(each));
}

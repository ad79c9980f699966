import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';
import { type Benchmark, type Figure, figure, inTurn, ratios } from '../benchmark.js';
import type { Cluster } from '../bench-cluster.js';
import { type Latency, measureLatency } from '../bench-latency.js';
import {
  assertSameScores,
  openScorerCluster,
  type Scorer,
  scoreBacklog,
  type Speed,
  startMillrace,
  startPeer,
} from '../bench-scorers.js';
import { javaClassPathFor } from '../peer-programs.js';

const name = 'scorer-vs-kafka-streams';
const rounds = 5;
const latencyRounds = 3;
const backlog = 100_000;
const latencySeconds = 8;

export const benchmark: Benchmark = {
  question:
    'How fast, and how soon, does Millrace score a stream, next to Kafka Streams with ONNX Runtime for Java?',
  method:
    'Apache Kafka with 6 partitions. `millrace process` and a Kafka Streams application (exactly_once_v2), one process each, ' +
    'read the same events in Avro, score them with the same model and write the same predictions in Avro; that they are the ' +
    'same is checked. Speed: each is halted while its backlog is written, and timed from the first commit after a tenth of ' +
    'it to the first one after nine tenths. Latency: events arrive evenly at half the speed of the slower of the two, and ' +
    'it is timed from when the broker appended an event (to 1 ms) until a consumer that reads only committed records has ' +
    'its prediction. All take turns, round after round, and were warmed up.',
  caveats: [
    'Kafka Streams processes one record after the other, so the model scores one row at a time: rows that wait in memory for ' +
      'a batch would be lost when it commits without them. Its session and tensors are made once.',
    'commit.interval.ms is 100, its default for this guarantee, unless stated; batch.size is 256 KiB. Millrace has no ' +
      'interval: it commits what has come, up to 1,000 records of a partition.',
    'It checks no limits of fields, writes no dead letters, and selects no version of the model.',
    'Broker and scorer share the machine’s cores, and under load the client too.',
  ],
  async run(scale, progress) {
    progress('installing Kafka Streams and Apache Kafka, if they are missing');
    const classPath = javaClassPathFor(name);
    const cluster = await openScorerCluster();
    try {
      const ours = await startMillrace(cluster);
      const [two, one] = [
        await startStreams(cluster, classPath, 2),
        await startStreams(cluster, classPath, 1),
      ];
      await assertSameScores(cluster, ours, two);
      const { figures, ofSlower } = await speeds(
        { cluster, ours, two, one },
        Math.ceil(backlog * scale),
        progress,
      );
      one.program.signal('SIGTERM');
      const often = await startStreams(cluster, classPath, 2, 10);
      const load = { perSecond: ofSlower / 2, seconds: Math.max(2, latencySeconds * scale) };
      figures.push(...(await latencies({ cluster, ours, two, often }, load, progress)));
      return figures;
    } finally {
      await cluster.close();
    }
  },
};

function startStreams(cluster: Cluster, classPath: string, threads: number, commitMs = 100): Promise<Scorer> {
  const source = join(packageRoot, 'benchmarks', name, 'KafkaStreamsScorer.java');
  return startPeer(
    cluster,
    `kafka-streams-${threads}-${commitMs}`,
    ['java', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-cp', classPath, source],
    { THREADS: String(threads), COMMIT_INTERVAL_MS: String(commitMs) },
  );
}

async function speeds(
  { cluster, ours, two, one }: { cluster: Cluster; ours: Scorer; two: Scorer; one: Scorer },
  count: number,
  progress: (step: string) => void,
): Promise<{ figures: Figure[]; ofSlower: number }> {
  progress(`speed, ${rounds} rounds`);
  const taken = new Map<Scorer, Speed[]>([ours, two, one].map((scorer) => [scorer, []]));
  const score = (scorer: Scorer) => async (): Promise<number> => {
    const speed = await scoreBacklog(cluster, scorer, count);
    taken.get(scorer)?.push(speed);
    return speed.perSecond;
  };
  const samples = await inTurn(rounds, { ours: score(ours), two: score(two), one: score(one) });
  // The first round warms up.
  const of = (scorer: Scorer, what: keyof Speed) =>
    (taken.get(scorer) ?? []).slice(1).map((each) => each[what]);
  const perSecond = [
    figure('Millrace', 'events/s', samples.ours),
    figure('2 threads', 'events/s', samples.two),
  ];
  return {
    figures: [
      figure('Millrace ÷ Kafka Streams, 2 threads', 'ratio', ratios(samples.ours, samples.two), {
        atLeast: 1,
      }),
      figure('Millrace ÷ Kafka Streams, 1 thread', 'ratio', ratios(samples.ours, samples.one)),
      figure('Millrace', 'events/s', samples.ours),
      figure('Kafka Streams, 2 threads', 'events/s', samples.two),
      figure('Kafka Streams, 1 thread', 'events/s', samples.one),
      figure('processor time of an event: Millrace', 'µs', of(ours, 'scorerMicros')),
      figure('the same: Kafka Streams, 2 threads', 'µs', of(two, 'scorerMicros')),
      figure('the same: broker, for Millrace', 'µs', of(ours, 'brokerMicros')),
      figure('the same: broker, for Kafka Streams', 'µs', of(two, 'brokerMicros')),
    ],
    ofSlower: Math.min(...perSecond.map(({ median }) => median)),
  };
}

async function latencies(
  { cluster, ours, two, often }: { cluster: Cluster; ours: Scorer; two: Scorer; often: Scorer },
  load: { perSecond: number; seconds: number },
  progress: (step: string) => void,
): Promise<Figure[]> {
  progress(`latency at ${Math.round(load.perSecond)} events/s, ${latencyRounds} rounds`);
  const taken = new Map<Scorer, Latency[]>([ours, two, often].map((scorer) => [scorer, []]));
  const measure = (scorer: Scorer) => async (): Promise<number> => {
    const latency = await measureLatency(cluster, scorer, load);
    taken.get(scorer)?.push(latency);
    return latency.p50;
  };
  await inTurn(latencyRounds, { ours: measure(ours), two: measure(two), often: measure(often) });
  const of = (scorer: Scorer, what: keyof Latency) =>
    (taken.get(scorer) ?? []).slice(1).map((each) => each[what]);
  return [
    figure('load, half the speed of the slower', 'events/s', [load.perSecond]),
    ...(['p50', 'p99'] as const).flatMap((what) => [
      figure(`${what}: Millrace`, 'ms', of(ours, what)),
      figure(`${what}: Kafka Streams`, 'ms', of(two, what)),
      figure(`${what}: Kafka Streams, commit.interval.ms 10`, 'ms', of(often, what)),
      figure(`${what}: Millrace ÷ Kafka Streams`, 'ratio', ratios(of(ours, what), of(two, what))),
    ]),
  ];
}

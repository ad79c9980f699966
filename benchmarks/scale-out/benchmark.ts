import { setTimeout as sleep } from 'node:timers/promises';
import { type Benchmark, figure, inTurn, ratios } from '../benchmark.js';
import { cpuSeconds, openCluster, type Cluster } from '../bench-cluster.js';

const rounds = 3;

/** Result of one run. */
interface Run {
  perSecond: number;
  /** Busy cores, on average. */
  scorerCores: number;
  brokerCores: number;
}

export const benchmark: Benchmark = {
  question: 'How much more do two and three scorer processes score than one?',
  method:
    'Apache Kafka with 12 partitions, and a backlog of events. Copies of `millrace process` start together; when all are members of the ' +
    'group it is counted, by committed offsets, how many events they score a second until nine tenths of the backlog are gone, and how much ' +
    'processor time they and the broker take meanwhile. Copies take turns, round after round.',
  caveats: [
    'Broker and scorers share the machine: with fewer cores than processes a copy more takes its time from the others.',
    'One broker, no replication, heap of 512 MB.',
  ],
  async run(scale, progress) {
    const cluster = await openCluster({ partitions: 12 });
    const runs: Record<number, Run[]> = { 1: [], 2: [], 3: [] };
    const run = async (copies: number): Promise<number> => {
      progress(`${copies} of 3 scorers`);
      const result = await measure(cluster, copies, Math.ceil(150_000 * scale));
      runs[copies]?.push(result);
      return result.perSecond;
    };
    try {
      const samples = await inTurn(rounds, { one: () => run(1), two: () => run(2), three: () => run(3) });
      // The first round warms up.
      const of = (copies: number, what: keyof Run) => (runs[copies] ?? []).slice(1).map((each) => each[what]);
      return [
        figure('1 scorer', 'events/s', samples.one),
        figure('2 scorers', 'events/s', samples.two),
        figure('3 scorers', 'events/s', samples.three),
        figure('2 scorers ÷ 1', 'ratio', ratios(samples.two, samples.one)),
        figure('3 scorers ÷ 1', 'ratio', ratios(samples.three, samples.one)),
        ...[1, 2, 3].flatMap((copies) => [
          figure(`busy with ${copies}: scorers`, 'cores', of(copies, 'scorerCores')),
          figure(`busy with ${copies}: broker`, 'cores', of(copies, 'brokerCores')),
        ]),
      ];
    } finally {
      await cluster.close();
    }
  },
};

async function measure(cluster: Cluster, copies: number, count: number): Promise<Run> {
  await cluster.fill(count);
  const scorers = await cluster.startScorers(copies);
  const take = async () => ({
    at: performance.now(),
    lag: await cluster.lag(),
    scorers: scorers.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0),
    broker: cpuSeconds(cluster.brokerPid),
  });
  const first = await take();
  let last = first;
  while (last.lag > count / 10) {
    await sleep(100);
    last = await take();
  }
  for (const scorer of scorers) scorer.signal('SIGTERM');
  await Promise.all(scorers.map((scorer) => scorer.exited));
  await cluster.whenScored();
  const seconds = (last.at - first.at) / 1000;
  return {
    perSecond: (first.lag - last.lag) / seconds,
    scorerCores: (last.scorers - first.scorers) / seconds,
    brokerCores: (last.broker - first.broker) / seconds,
  };
}

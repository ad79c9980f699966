import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';
import { type Benchmark, figure, inTurn, ratios } from '../benchmark.js';
import {
  assertSameScores,
  openScorerCluster,
  scoreBacklog,
  startMillrace,
  startPeer,
} from '../bench-scorers.js';
import { pythonFor } from '../peer-programs.js';

const name = 'scorer-vs-quix';
const rounds = 5;
/** Millrace's backlog is longer, so that both take seconds. */
const events = { millrace: 100_000, quix: 40_000 };

export const benchmark: Benchmark = {
  question: 'How fast does Millrace score a stream, next to Quix Streams with onnxruntime?',
  method:
    'Apache Kafka with 6 partitions. `millrace process` and a Quix Streams application, one process each, read the same ' +
    'events in Avro, score them with the same model and write the same predictions in Avro, exactly once; that they are the ' +
    'same is checked. Each is halted while its backlog is written, and timed from the first commit after a tenth of it to ' +
    'the first one after nine tenths. They take turns, round after round; both were warmed up.',
  caveats: [
    'Quix Streams calls a function for each record, so the model scores one row at a time. It runs in one thread.',
    'It commits every 100 ms, the default of Kafka Streams; 0.5 s, 1 s and its own default of 5 s are no faster. onnxruntime ' +
      'has one thread, and fastavro reads and writes Avro.',
    'It checks no limits of fields, writes no dead letters, and selects no version of the model.',
    'Broker and scorer share the machine’s cores.',
  ],
  async run(scale, progress) {
    progress('installing Quix Streams and Apache Kafka, if they are missing');
    const python = pythonFor(name);
    const cluster = await openScorerCluster();
    try {
      const script = join(packageRoot, 'benchmarks', name, 'scorer.py');
      const ours = await startMillrace(cluster);
      const theirs = await startPeer(cluster, 'quix', [python, script], { COMMIT_INTERVAL_S: '0.1' });
      await assertSameScores(cluster, ours, theirs);
      progress(`${rounds} rounds`);
      const score = async (scorer: typeof ours, count: number) =>
        (await scoreBacklog(cluster, scorer, Math.ceil(count * scale))).perSecond;
      const samples = await inTurn(rounds, {
        ours: () => score(ours, events.millrace),
        theirs: () => score(theirs, events.quix),
      });
      return [
        figure('Millrace ÷ Quix Streams', 'ratio', ratios(samples.ours, samples.theirs), { atLeast: 5 }),
        figure('Millrace', 'events/s', samples.ours),
        figure('Quix Streams', 'events/s', samples.theirs),
      ];
    } finally {
      await cluster.close();
    }
  },
};

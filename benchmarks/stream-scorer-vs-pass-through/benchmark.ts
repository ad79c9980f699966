import type { Benchmark } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { openBenchLog } from '../bench-log.js';
import { StreamScorer } from '../../processors/scoring/stream-scorer.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';
import { untilCommitted } from '../../streams/testing/until-committed.js';

const rounds = 7;

export const benchmark: Benchmark = {
  question: 'How much of the exactly-once loop’s speed is left when it scores?',
  method:
    'The same events are read by a new consumer group in each run, through the same transform loop (one transaction per ' +
    '1,000 records of a partition), once by the stream scorer with the credit-default model and once by a loop that writes ' +
    'key, value and headers out as they came. Timed from the first batch to the last commit, which the broker is asked for every 2 ms.',
  caveats: [
    'A prediction (about 560 bytes, with the features as JSON) is several times as long as its event (about 75 bytes): ' +
      'the loop that passes events through writes fewer bytes. "Padded" passes values through at the length of a prediction.',
    'Broker, loop and model share the machine’s cores, as under `npm start`.',
  ],
  async run(scale, progress) {
    const log = await openBenchLog();
    const count = Math.ceil(60_000 * scale);
    progress(`writing ${count} events`);
    const ends = await log.fill(count);
    const { topics } = log.pipeline;
    const scorer = new StreamScorer(log);
    const padding = Buffer.alloc(485);
    const pass = (pad: boolean) => (records: StreamRecord[]) =>
      Promise.resolve(
        records.map(({ key, value, headers }): NewRecord => ({
          topic: topics.predictions,
          key,
          value: pad && value !== null ? Buffer.concat([value, padding]) : value,
          headers,
        })),
      );
    progress(`${rounds} rounds`);
    const perSecond = async (process: Process) =>
      count / (await timeRun(log.streams, topics.events, ends, process));
    const samples = await inTurn(rounds, {
      score: () => perSecond((records) => scorer.process(records)),
      pass: () => perSecond(pass(false)),
      padded: () => perSecond(pass(true)),
    });
    await log.close();
    return [
      figure('scored ÷ passed through', 'ratio', ratios(samples.score, samples.pass), { atLeast: 0.7 }),
      figure('scored ÷ passed through, padded', 'ratio', ratios(samples.score, samples.padded)),
      figure('scored', 'events/s', samples.score),
      figure('passed through', 'events/s', samples.pass),
    ];
  },
};

type Process = (records: StreamRecord[]) => Promise<NewRecord[]>;

let groups = 0;

/** Seconds from the first batch to the last commit. */
async function timeRun(
  streams: Streams,
  topic: string,
  ends: Record<number, number>,
  process: Process,
): Promise<number> {
  let started: number | undefined;
  const groupId = `bench-${++groups}`;
  const run = await streams.transform({
    groupId,
    topics: [topic],
    process: (records) => {
      started ??= performance.now();
      return process(records);
    },
  });
  await untilCommitted(streams, { groupId, topic, offsets: ends, timeoutMs: 120_000, pollMs: 2 });
  const seconds = (performance.now() - (started ?? 0)) / 1000;
  await run.stop();
  return seconds;
}

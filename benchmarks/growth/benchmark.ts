import { rm } from 'node:fs/promises';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';
import { seededRandom } from '../../processors/pipelines/sampler.js';
import { type Benchmark, type Figure, figure, ratios } from '../benchmark.js';
import { type BenchSystem, makeFolder } from '../bench-system.js';
import { cpuSeconds } from '../bench-cluster.js';
import { load, pipeline, post, runSystem } from './load.js';

const fullSizes = [1e4, 1e5, 1e6, 1e7];
const rounds = 5;
/** Events whose cost is measured in a round; as many before them warm up. */
const posted = 10_000;
const callsOfQuery = 10;
const atMost = 1.2;

/** `{id}` is that of an event, and `{from}` the time of the oldest one. */
const queries: Record<string, string> = {
  'the newest predictions':
    'SELECT event_id, score, label, latency_ms FROM millrace.predictions_by_time LIMIT 5',
  'the predictions of 5 s':
    'SELECT model_version, count(), avg(score) FROM millrace.predictions_by_time WHERE event_time >= {from} AND event_time < {from} + INTERVAL 5 SECOND GROUP BY ALL',
  'an event by its id': 'SELECT * FROM millrace.predictions WHERE event_id = {id}',
};

type Measured = Record<string, number[]>;

export const benchmark: Benchmark = {
  question: 'What becomes slower as events gather?',
  method:
    'Four folders with data of 10⁴, 10⁵, 10⁶ and 10⁷ events: 5,000 went through the system; the rest are copies of them that fast ' +
    'producers wrote to the topics of events and predictions, and that ClickHouse inserted from its own rows, with ids of their own, half of them ' +
    'in the order of time. In turn, smallest first and last, `millrace up --no-demo` starts on each; the queries run over HTTP; ' +
    `then ${posted} events are posted to warm up and ${posted} to measure, from the request until all are in ClickHouse. A ratio is that of one round, of a ` +
    'size to the one before it.',
  caveats: [
    'The posted events add to the data: the folder of 10⁴ events has about 10⁵ in the end. Queries and starts of a round come before them.',
    'ClickHouse has merged the copies before. It merges each row again whenever its part joins a larger one, about once for each ' +
      'fivefold growth, which the posted events do not show.',
    'Start times are those of compiled code whose files are in the page cache.',
    'The processor time is that of the whole process, with engines and their background work, and not of the client.',
  ],
  async run(scale, progress) {
    const sizes = fullSizes.map((size) => Math.max(100, Math.round(size * scale)));
    const body = await sampleLines();
    const folders = new Map<number, string>();
    const measured = new Map<number, Measured>(sizes.map((size) => [size, {}]));
    try {
      for (const size of sizes) {
        progress(`writing ${size} events`);
        const { folder } = await makeFolder();
        folders.set(size, folder);
        await load(folder, size, body);
      }
      for (let round = 0; round < rounds; round++) {
        for (const size of round % 2 === 0 ? sizes : sizes.toReversed()) {
          progress(`round ${round + 1} of ${rounds}, ${size} events`);
          const values = await runSystem(folders.get(size) ?? '', (system) => measure(system, body));
          for (const [what, value] of Object.entries(values))
            ((measured.get(size) ?? {})[what] ??= []).push(value);
        }
      }
    } finally {
      for (const folder of folders.values()) await rm(folder, { recursive: true, force: true });
    }
    return toFigures(measured);
  },
};

/** Returns the events of a request, as lines of JSON, always the same. */
async function sampleLines(): Promise<(count: number) => string> {
  const { sample } = (await loadPipeline(packageRoot, pipeline)).pipeline;
  return (count) => {
    const random = seededRandom(7);
    return Array.from({ length: count }, () => JSON.stringify(sample?.(random))).join('\n');
  };
}

const units: Record<string, string> = { 'start of millrace up': 's', 'processor time of an event': 'µs' };

async function measure(
  system: BenchSystem,
  body: (count: number) => string,
): Promise<Record<string, number>> {
  const values: Record<string, number> = { 'start of millrace up': system.secondsToReady };
  const table = 'millrace.predictions_by_time_storage';
  const id = await system.sql(`SELECT event_id FROM ${table} LIMIT 1 OFFSET 50 FORMAT Values`);
  const from = await system.sql(`SELECT toString(min(event_time)) FROM ${table} FORMAT Values`);
  for (const [name, query] of Object.entries(queries)) {
    const sql = query
      .replace('{id}', id.slice(1, -1))
      .replaceAll('{from}', `toDateTime64${from.slice(0, -1)}, 3, 'UTC')`);
    values[name] = await medianTime(() => system.sql(sql));
  }
  const stored = async (): Promise<number> =>
    Number(await system.sql('SELECT count() FROM millrace.predictions_storage'));
  const lines = body(posted / 2);
  const before = await stored();
  for (const part of [1, 2]) {
    const [cpu, at] = [cpuSeconds(system.pid), performance.now()];
    await Promise.all([post(system, lines), post(system, lines)]);
    await system.whenStored(before + part * posted);
    values['processor time of an event'] = ((cpuSeconds(system.pid) - cpu) / posted) * 1e6;
    values['posted, scored and stored'] = posted / ((performance.now() - at) / 1000);
  }
  return values;
}

async function medianTime(action: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let call = 0; call <= callsOfQuery; call++) {
    const startedAt = performance.now();
    await action();
    if (call > 0) times.push(performance.now() - startedAt);
  }
  return figure('', 'ms', times).median;
}

function toFigures(measured: ReadonlyMap<number, Measured>): Figure[] {
  const sizes = [...measured.keys()];
  const names = Object.keys(measured.get(sizes[0] ?? 0) ?? {});
  return names.flatMap((name) => {
    const isRate = name in { 'posted, scored and stored': true };
    const of = (size: number): number[] => measured.get(size)?.[name] ?? [];
    return sizes.flatMap((size, index) => {
      const before = sizes[index - 1];
      const value = figure(`${name}, ${short(size)}`, isRate ? 'events/s' : (units[name] ?? 'ms'), of(size));
      if (before === undefined) return [value];
      const [over, under] = isRate ? [before, size] : [size, before];
      const title = `${name}: ${short(over)} ÷ ${short(under)}`;
      return [value, figure(title, 'ratio', ratios(of(over), of(under)), { atMost })];
    });
  });
}

function short(size: number): string {
  return size.toLocaleString('en');
}

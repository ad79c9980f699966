import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../platform/paths.js';
import { loadPipeline } from '../../processors/pipelines/load-pipelines.js';
import { seededRandom } from '../../processors/pipelines/sampler.js';
import type { Benchmark, Figure } from '../benchmark.js';
import { figure } from '../benchmark.js';
import { type BenchSystem, makeFolder, startSystem } from '../bench-system.js';

const coldStarts = 3;
const eventsInRequest = 5_000;
/** Concurrent requests. */
const senders = 2;

export const benchmark: Benchmark = {
  question: 'How soon is the whole system ready, and how much memory does it take as events go through it?',
  method:
    'Starts `millrace up --no-demo` on empty folders; posts 1,000,000 events to `events`, 5,000 in a request, as ' +
    'newline-delimited JSON; waits until all are in ClickHouse; stops it and starts it again on that data. The resident ' +
    'set is that of the one process there is, with all its threads, engines and models, read every second.',
  caveats: [
    'The resident set contains what is mapped from files and can be dropped by the kernel: about 250 MB of it are chDB’s library.',
    'The client that posts the events runs on the same cores.',
    'Start times are those of compiled code whose files are in the page cache.',
  ],
  async run(scale, progress) {
    progress('starts on empty folders');
    const starts: number[] = [];
    const idle: number[] = [];
    for (let i = 0; i < coldStarts; i++) {
      const { folder, remove } = await makeFolder();
      const system = await startSystem(folder);
      starts.push(system.secondsToReady);
      await sleep(3_000);
      idle.push(residentMegabytes(system.pid));
      await system.stop();
      await remove();
    }
    const count = Math.ceil((1_000_000 * scale) / eventsInRequest) * eventsInRequest;
    const { folder, remove } = await makeFolder();
    const system = await startSystem(folder);
    const run = await runEvents(system, count, progress);
    await system.stop();
    progress('starts on that data');
    const restarts: number[] = [];
    for (let i = 0; i < coldStarts; i++) {
      const again = await startSystem(folder);
      restarts.push(again.secondsToReady);
      await again.stop();
    }
    await remove();
    return [
      figure('start on an empty folder', 's', starts, { atMost: 5 }),
      figure('start on the data of all events', 's', restarts, { atMost: 5 }),
      figure('memory, idle after a start', 'MB', idle, { atMost: 400 }),
      ...run,
    ];
  },
};

async function runEvents(
  system: BenchSystem,
  count: number,
  progress: (step: string) => void,
): Promise<Figure[]> {
  const samples: { stored: number; megabytes: number }[] = [];
  const started = performance.now();
  const sending = sendEvents(`${system.endpoints.http}/v1/pipelines/credit-default/events`, count);
  let stored = 0;
  while (stored < count) {
    await Promise.race([sleep(1_000), sending.then(() => sleep(1_000))]);
    stored = Number(await system.sql('SELECT count() FROM millrace.predictions_storage'));
    const megabytes = residentMegabytes(system.pid);
    samples.push({ stored, megabytes });
    progress(`${stored} of ${count} events, ${megabytes} MB`);
  }
  await sending;
  const seconds = (performance.now() - started) / 1000;
  const distinct = Number(await system.sql('SELECT count() FROM millrace.predictions'));
  if (distinct !== count) throw new Error(`${count} events have ${distinct} predictions.`);
  await sleep(5_000);
  const during = (from: number, to: number): number[] =>
    samples
      .filter((sample) => sample.stored > from * count && sample.stored <= to * count)
      .map(({ megabytes }) => megabytes);
  return [
    figure('memory, first quarter of the events', 'MB', during(0, 0.25)),
    figure('memory, second quarter', 'MB', during(0.25, 0.5)),
    figure('memory, third quarter', 'MB', during(0.5, 0.75)),
    figure('memory, last quarter', 'MB', during(0.75, 1), { atMost: 700 }),
    figure('memory, 5 s after the last event', 'MB', [residentMegabytes(system.pid)], { atMost: 600 }),
    figure('posted, scored and stored', 'events/s', [count / seconds], { atLeast: 25_000 }),
  ];
}

/** Resolves when all are accepted. Each event is one of 5,000 samples; the system gives it a unique id. */
async function sendEvents(url: string, count: number): Promise<void> {
  const { pipeline } = await loadPipeline(packageRoot, 'credit-default');
  const random = seededRandom(7);
  const body = Array.from({ length: eventsInRequest }, () => JSON.stringify(pipeline.sample?.(random))).join(
    '\n',
  );
  let left = count / eventsInRequest;
  const send = async (): Promise<void> => {
    while (left-- > 0) {
      const headers = { 'content-type': 'application/x-ndjson' };
      const response = await fetch(url, { method: 'POST', headers, body });
      if (response.status !== 202) throw new Error(`${response.status}: ${await response.text()}`);
      await response.arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: senders }, send));
}

function residentMegabytes(pid: number): number {
  const kibibytes = Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' }));
  return Math.round((kibibytes * 1024) / 1e6);
}

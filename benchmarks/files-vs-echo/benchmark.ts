import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeXlsxStream } from 'hucre/xlsx';
import { packageRoot } from '../../platform/paths.js';
import type { Benchmark } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { makeFolder, startSystem, stop } from '../bench-system.js';

const rounds = 10;
const fullRows = 1_000;

export const benchmark: Benchmark = {
  question: 'How long does a spreadsheet take from upload to its result?',
  method:
    `A workbook of ${fullRows} cars is posted to \`/v1/pipelines/car-price/files\` of a running \`millrace up\`, its job is followed by ` +
    'server-sent events, and its result is fetched. In turn, the same rows are posted as one JSON array to a Hono route on the ' +
    'same server that only parses and echoes the body. The first rounds warm up.',
  caveats: [
    'The rows become events on the log, are scored by the stream scorer, and stored in ClickHouse; the result is written from there. The echo does none of it.',
    'The rows become a few small inserts; under load they would wait for others, up to SINK_BATCH_DELAY_MS (200 ms).',
  ],
  async run(scale, progress) {
    const count = Math.max(10, Math.round(fullRows * scale));
    const car = JSON.parse(await readFile(join(packageRoot, 'examples', 'car-price.json'), 'utf8')) as Record<
      string,
      string | number
    >;
    const cars = Array.from({ length: count }, (_, index) => ({ ...car, kilometers: 1_000 + index }));
    const sheet = [Object.keys(car), ...cars.map((each) => Object.values(each))];
    const file = await new Response(writeXlsxStream(sheet, { name: 'Cars' })).blob();
    const { folder, remove } = await makeFolder();
    const system = await startSystem(folder);
    const echo = fork(new URL('../predict-vs-echo/echo-server.js', import.meta.url));
    const [{ port }] = (await once(echo, 'message')) as [{ port: number }];
    const body = JSON.stringify(cars);
    const timed = async (action: () => Promise<void>): Promise<number> => {
      const startedAt = performance.now();
      await action();
      return performance.now() - startedAt;
    };
    const score = (): Promise<number> => timed(() => scoreFile(system.endpoints.http, file));
    progress('warming up');
    for (let round = 0; round < 3; round++) await score();
    progress(`${count} rows, ${rounds} rounds`);
    const samples = await inTurn(rounds, {
      file: score,
      echo: () =>
        timed(async () => {
          const headers = { 'content-type': 'application/json' };
          const response = await fetch(`http://127.0.0.1:${port}/echo`, { method: 'POST', headers, body });
          await response.arrayBuffer();
        }),
    });
    await stop(echo);
    await system.stop();
    await remove();
    return [
      figure(`${count} rows of xlsx, upload to result`, 'ms', samples.file, { atMost: 250 }),
      figure('the same rows echoed as JSON', 'ms', samples.echo),
      figure('file ÷ echo', 'ratio', ratios(samples.file, samples.echo)),
    ];
  },
};

async function scoreFile(http: string, file: Blob): Promise<void> {
  const form = new FormData();
  form.set('file', file, 'cars.xlsx');
  const accepted = await fetch(`${http}/v1/pipelines/car-price/files`, { method: 'POST', body: form });
  const { links } = (await accepted.json()) as { links: { events: string; result: string } };
  // The stream ends with the job.
  await (await fetch(http + links.events)).text();
  const result = await fetch(http + links.result);
  if (!result.ok) throw new Error(`The job did not end well: ${await result.text()}`);
  await result.arrayBuffer();
}

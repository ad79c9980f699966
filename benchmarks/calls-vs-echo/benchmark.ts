import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';
import type { Benchmark } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { makeFolder, startSystem, stop } from '../bench-system.js';

const rounds = 10;
const fullCalls = 1_000;

export const benchmark: Benchmark = {
  question: 'How long do 1,000 cars take that are priced one after the other?',
  method:
    `examples/car-price.json is posted ${fullCalls} times to \`POST /predict\` of a running \`millrace up\`, each call after the answer ` +
    'to the last one, over one connection; in turn to a Hono route on the same server that only parses and echoes the body.',
  caveats: [
    'A prediction is on the log (acks=all, fsync) before it is answered; the echo touches no disk.',
    'What the stream scorer and the sink do with the predictions meanwhile takes its share of the cores.',
  ],
  async run(scale, progress) {
    const count = Math.max(10, Math.round(fullCalls * scale));
    const body = await readFile(join(packageRoot, 'examples', 'car-price.json'), 'utf8');
    const { folder, remove } = await makeFolder();
    const system = await startSystem(folder);
    const echo = fork(new URL('../predict-vs-echo/echo-server.js', import.meta.url));
    const [{ port }] = (await once(echo, 'message')) as [{ port: number }];
    const call = async (url: string): Promise<number> => {
      const startedAt = performance.now();
      for (let n = 0; n < count; n++) {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        });
        await response.arrayBuffer();
        if (!response.ok) throw new Error(`${url} answered ${response.status}.`);
      }
      return performance.now() - startedAt;
    };
    progress(`${count} calls, ${rounds} rounds`);
    const samples = await inTurn(rounds, {
      predict: () => call(`${system.endpoints.http}/predict`),
      echo: () => call(`http://127.0.0.1:${port}/echo`),
    });
    await stop(echo);
    await system.stop();
    await remove();
    return [
      figure(`${count} calls of predict, one after the other`, 'ms', samples.predict, { atMost: 1_300 }),
      figure(`${count} calls of echo`, 'ms', samples.echo),
      figure('time of predict ÷ echo', 'ratio', ratios(samples.predict, samples.echo)),
    ];
  },
};

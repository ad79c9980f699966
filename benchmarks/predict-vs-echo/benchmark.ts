import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { killPrograms } from '../../tests/system/programs.js';
import { packageRoot } from '../../platform/paths.js';
import type { Benchmark, Figure } from '../benchmark.js';
import { figure, inTurn, ratios } from '../benchmark.js';
import { post } from '../bench-http.js';
import { type BenchSystem, makeFolder, startServe, startSystem, stop } from '../bench-system.js';

const rounds = 5;
const connectionCounts = [1, 32, 128];
/** Where the target applies: see `method`. */
const decisive = 128;

export const benchmark: Benchmark = {
  question: 'What does a prediction over HTTP cost beyond receiving and answering a request?',
  method:
    'autocannon, in a process of its own, posts examples/credit-default.json over keep-alive connections, in turn to ' +
    '`predict` of a running `millrace up` and to a Hono route on the same server that only parses and echoes the body. ' +
    `At ${decisive} connections also to \`millrace serve\`, a process of its own on the engines of that system. ` +
    `The aims of ratios count at ${decisive} connections, where both are saturated: with one connection a prediction waits for one ` +
    'write to disk and one model call, and the ratio says only how fast the disk is.',
  caveats: [
    'A prediction is on the log (acks=all, fsync) before it is answered; the echo touches no disk.',
    'While predictions are measured the same process also forwards them through the stream scorer and stores them in ' +
      'ClickHouse: all of that competes with the requests for the same cores. The echo has nothing else to do.',
    'The client takes a share of the cores on both sides.',
  ],
  async run(scale, progress) {
    const body = await readFile(join(packageRoot, 'examples', 'credit-default.json'), 'utf8');
    const { folder, remove } = await makeFolder();
    const system = await startSystem(folder);
    const echo = await startEcho();
    const figures: Figure[] = [];
    let answered = 0;
    for (const connections of connectionCounts) {
      progress(`${connections} connections, ${rounds} rounds`);
      const latencies: Record<'predict' | 'echo', number[]> = { predict: [], echo: [] };
      const load = async (name: 'predict' | 'echo', url: string) => {
        const { count, perSecond, milliseconds } = await post(url, body, connections, Math.max(1, 4 * scale));
        latencies[name].push(milliseconds);
        if (name === 'predict') await system.whenStored((answered += count));
        return perSecond;
      };
      const samples = await inTurn(rounds, {
        predict: () => load('predict', `${system.endpoints.http}/v1/pipelines/credit-default/predict`),
        echo: () => load('echo', echo.url),
      });
      const at = `${connections} connection${connections === 1 ? '' : 's'}`;
      const aim = connections === decisive ? { atLeast: 0.35 } : undefined;
      const meanAim = connections === 1 ? { atMost: 1 } : undefined;
      figures.push(
        figure(`predict ÷ echo, ${at}`, 'ratio', ratios(samples.predict, samples.echo), aim),
        figure(`predict, ${at}`, 'requests/s', samples.predict),
        figure(`echo, ${at}`, 'requests/s', samples.echo),
        figure(`predict, ${at}, mean time`, 'ms', latencies.predict, meanAim),
        figure(`echo, ${at}, mean time`, 'ms', latencies.echo),
      );
    }
    figures.push(...(await serveApart(system, echo.url, body, Math.max(1, 4 * scale), answered)));
    await stop(echo.child);
    await system.stop();
    await remove();
    return figures;
  },
};

/** The HTTP API in a process of its own, while the system scores and stores. */
async function serveApart(
  system: BenchSystem,
  echo: string,
  body: string,
  seconds: number,
  before: number,
): Promise<Figure[]> {
  const url = `${await startServe(system.endpoints)}/v1/pipelines/credit-default/predict`;
  let answered = before;
  const samples = await inTurn(rounds, {
    predict: async () => {
      const { count, perSecond } = await post(url, body, decisive, seconds);
      await system.whenStored((answered += count));
      return perSecond;
    },
    echo: async () => (await post(echo, body, decisive, seconds)).perSecond,
  });
  await killPrograms();
  return [
    figure('serve as a process: predict ÷ echo', 'ratio', ratios(samples.predict, samples.echo), {
      atLeast: 0.5,
    }),
    figure('serve as a process: predict', 'requests/s', samples.predict),
  ];
}

async function startEcho(): Promise<{ child: ChildProcess; url: string }> {
  const child = fork(new URL('./echo-server.js', import.meta.url));
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return { child, url: `http://127.0.0.1:${port}/echo` };
}

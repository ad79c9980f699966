import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';
import { freePorts, killPrograms, type Program, startCommand } from '../../tests/system/programs.js';
import { type Benchmark, type Figure, figure, inTurn, ratios } from '../benchmark.js';
import { post } from '../bench-http.js';
import { makeFolder, startServe, startSystem, until } from '../bench-system.js';
import { pythonFor } from '../peer-programs.js';

const name = 'predict-vs-fastapi';
const rounds = 5;
const connections = 32;
const pipeline = 'credit-default';
const route = `v1/pipelines/${pipeline}/predict`;
type Variant = keyof typeof titles;
const titles = {
  up: '`millrace up`',
  serve: '`millrace serve` beside it',
  worker: 'FastAPI, 1 worker',
  workers: 'FastAPI, 2 workers',
};

export const benchmark: Benchmark = {
  question: 'How many predictions does Millrace answer over HTTP, next to FastAPI with onnxruntime?',
  method:
    `autocannon posts examples/credit-default.json over ${connections} keep-alive connections, in turn to \`predict\` of a ` +
    'running `millrace up`, to a separate `millrace serve` on its engines, and to FastAPI, which serves the same model with ' +
    'uvicorn (uvloop, httptools, no access log), pydantic with the fields and limits of the contract, onnxruntime with one ' +
    'thread, and a response of orjson. That both give the same score is checked. All were warmed up.',
  caveats: [
    'FastAPI writes nothing: there is no log, no ClickHouse, no version of the model to select, no id that makes a repeated ' +
      'request harmless. Millrace answers when the event and its prediction are on disk, and then stores the row.',
    'With `millrace up` the same process also forwards the predictions through the stream scorer and stores them; with ' +
      '`millrace serve` the process beside it does. Both compete with the requests for the same cores.',
    'The client takes a share of the cores on all sides.',
  ],
  async run(scale, progress) {
    progress('installing FastAPI, if it is missing');
    const python = pythonFor(name);
    const body = await readFile(join(packageRoot, 'examples', `${pipeline}.json`), 'utf8');
    const { folder, remove } = await makeFolder();
    const system = await startSystem(folder);
    const servers: Program[] = [];
    try {
      const urls: Record<Variant, string> = {
        up: `${system.endpoints.http}/${route}`,
        serve: `${await startServe(system.endpoints)}/${route}`,
        worker: await startFastApi(servers, python, body, 1),
        workers: await startFastApi(servers, python, body, 2),
      };
      await assertSameScore(urls, body);
      progress(`${connections} connections, ${rounds} rounds`);
      const latencies: Record<Variant, number[]> = { up: [], serve: [], worker: [], workers: [] };
      const load = (variant: Variant) => async (): Promise<number> => {
        const seconds = Math.max(1, 4 * scale);
        const { count, perSecond, milliseconds } = await post(urls[variant], body, connections, seconds);
        latencies[variant].push(milliseconds);
        // Both write to the same log, and the next one must not compete with what is left of this one's work.
        if (variant === 'up' || variant === 'serve') await system.whenStored((stored += count));
        return perSecond;
      };
      let stored = Number(await system.sql('SELECT count() FROM millrace.predictions_storage'));
      const samples = await inTurn(rounds, {
        up: load('up'),
        serve: load('serve'),
        worker: load('worker'),
        workers: load('workers'),
      });
      return figures(samples, latencies);
    } finally {
      // A killed one would leave its workers behind.
      for (const server of servers) server.signal('SIGTERM');
      await Promise.all(servers.map((server) => server.exited));
      await killPrograms();
      await system.stop();
      await remove();
    }
  },
};

/** Starts uvicorn, adds it to `servers`, and returns the address of the route when it answers. */
async function startFastApi(
  servers: Program[],
  python: string,
  body: string,
  workers: number,
): Promise<string> {
  const { port } = await freePorts('port');
  const here = join(packageRoot, 'benchmarks', name);
  const model = join(packageRoot, 'models', pipeline, '1');
  const fast = ['--loop', 'uvloop', '--http', 'httptools', '--no-access-log', '--log-level', 'warning'];
  const args = ['--app-dir', here, '--port', String(port), '--workers', String(workers), ...fast];
  const program = startCommand(python, ['-m', 'uvicorn', 'app:app', ...args], {
    MODEL: join(model, 'model.onnx'),
    MODEL_CARD: join(model, 'model.json'),
    EVENT_SCHEMA: join(packageRoot, 'schemas', pipeline, 'event.v1.avsc'),
    PYTHONDONTWRITEBYTECODE: '1',
  });
  servers.push(program);
  const url = `http://127.0.0.1:${port}/predict`;
  await until(async () => {
    if (program.hasExited()) throw new Error(`FastAPI has ended:\n${program.output()}`);
    return ask(url, body).then(
      () => true,
      () => false,
    );
  });
  return url;
}

async function assertSameScore(urls: Record<Variant, string>, body: string): Promise<void> {
  const answers = await Promise.all(Object.values(urls).map((url) => ask(url, body)));
  const distinct = new Set(answers.map(({ score, label }) => `${label} ${score.toFixed(6)}`));
  if (distinct.size !== 1) throw new Error(`The answers differ: ${[...distinct].join(', ')}.`);
}

async function ask(url: string, body: string): Promise<{ score: number; label: string }> {
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as { score: number; label: string };
}

function figures(samples: Record<Variant, number[]>, latencies: Record<Variant, number[]>): Figure[] {
  const all = Object.keys(titles) as Variant[];
  const ratio = (variant: Variant, baseline: Variant, aim?: { atLeast: number }) =>
    figure(
      `${titles[variant]} ÷ ${titles[baseline]}`,
      'ratio',
      ratios(samples[variant], samples[baseline]),
      aim,
    );
  return [
    ratio('up', 'worker', { atLeast: 3 }),
    ratio('serve', 'worker'),
    ratio('up', 'workers'),
    ratio('serve', 'workers'),
    ...all.map((variant) => figure(titles[variant], 'requests/s', samples[variant])),
    ...all.map((variant) => figure(`${titles[variant]}, mean time`, 'ms', latencies[variant])),
  ];
}

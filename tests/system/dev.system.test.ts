import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { SummingProject, summingEvent } from '../../processors/testing/summing-project.js';
import { auditCommand } from '../../cli/audit.js';
import { patience } from './engines/chosen.js';
import { startProgram, type Program, readiness, whenReady } from './programs.js';
import { runCommand } from './run-command.js';
import { runsAll } from './size.js';
import { SteadyClients } from './steady-clients.js';
import { WholeSystem } from './whole-system.js';

let project: SummingProject;
let whole: WholeSystem;
let system: Program;

beforeAll(async () => {
  project = await SummingProject.create('steady', 'worked');
  whole = await WholeSystem.create();
  start();
  await whenReady(system, whole.http);
});

afterAll(async () => {
  await whole.remove();
  await project.remove();
});

function start(): void {
  const settings = { ...whole.settings, MILLRACE_PROJECT: project.folder };
  system = startProgram('cli/main.js', ['up', '--no-demo', '--dev'], settings);
}

interface Answer {
  status: number;
  score?: number;
  model_version?: string;
  code?: string;
}

async function predict(pipeline: string, event: object = summingEvent): Promise<Answer> {
  const answer = await fetch(`${whole.http}/v1/pipelines/${pipeline}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(event),
  });
  return { ...((await answer.json()) as object), status: answer.status };
}

/** Waits for an answer like this. */
async function until(pipeline: string, expected: object, event?: object): Promise<void> {
  await vi.waitFor(async () => expect(await predict(pipeline, event)).toMatchObject(expected), {
    timeout: patience * 30_000,
    interval: 25,
  });
}

/** Waits until readiness shows a problem of development like this; without one, none. */
async function untilProblem(text?: string): Promise<void> {
  const dev =
    text === undefined
      ? { status: 'up' }
      : { status: 'degraded', detail: expect.stringContaining(text) as string };
  await vi.waitFor(async () => expect((await readiness(whole.http)).parts).toMatchObject({ dev }), {
    timeout: patience * 30_000,
    interval: 25,
  });
}

/** Runs a test while clients of the other pipeline send requests, and checks that all are answered. */
async function whileOthersWork(action: () => Promise<void>): Promise<void> {
  const others = SteadyClients.start(whole.http, ['steady'], summingEvent);
  await others.answered(5);
  await action();
  await others.answered(5);
  expect(await others.stop()).toEqual([]);
}

const version = /^1\+[0-9a-f]{12}$/;
const like = (pattern: RegExp): string => expect.stringMatching(pattern) as string;

describe('with --dev', () => {
  it('a model that is retrained in place takes over, and answers all the time', () =>
    whileOthersWork(async () => {
      const own = SteadyClients.start(whole.http, ['worked'], summingEvent);
      await project.train('worked', '1', 'again');
      await until('worked', { status: 200, score: 6, model_version: like(version) });
      expect(await own.stop()).toEqual([]);
    }));

  it('a retrained model that is no good changes nothing, and the problem is shown', () =>
    whileOthersWork(async () => {
      const { model_version: before } = await predict('worked');
      await project.change('models/worked/1/golden.json', { rows: [{ features: [1, 2, 3], prediction: 7 }] });
      await project.write('models/worked/1/model.onnx', 'cut off');
      await untilProblem('models/worked/1');
      expect(await predict('worked')).toMatchObject({ status: 200, model_version: before });
      await project.train('worked', '1', 'third');
      await until('worked', {
        status: 200,
        model_version: expect.not.stringContaining(String(before)) as string,
      });
      expect(await predict('worked')).toMatchObject({ model_version: like(version) });
      await untilProblem();
    }));

  it('a changed pipeline.json, and code in its place, with a module of its own, are loaded', () =>
    whileOthersWork(async () => {
      const folder = 'processors/pipelines/worked';
      await project.write(`${folder}/pipeline.json`, { inputs: { third: 'first' } });
      await until('worked', { score: 4 });
      await project.write(`${folder}/pipeline.json`, { inputs: { third: 'fist' } });
      await untilProblem('Did you mean first?');
      expect(await predict('worked')).toMatchObject({ status: 200, score: 4 });
      const code = `import { factor } from './factor.js';
        const features = ({ first, second, third }) => [factor * first, second, third];
        export const pipeline = { name: 'worked', features };`;
      await project.write(`${folder}/factor.js`, 'export const factor = 10;');
      await project.write(`${folder}/pipeline.js`, code);
      await project.remove(`${folder}/pipeline.json`);
      await until('worked', { score: 15 });
      await project.write(`${folder}/factor.js`, 'export const factor = 100;');
      await until('worked', { score: 105 });
      await untilProblem();
    }));

  it('a new version of a contract is taken, and one that is incompatible is not', () =>
    whileOthersWork(async () => {
      const fields = ['first', 'second', 'third'].map((name) => ({ name, type: 'double' }));
      const contract = { type: 'record', name: 'WorkedEvent', namespace: 'toys' };
      const note = { name: 'note', type: ['null', 'string'], default: null };
      await project.write('schemas/worked/event.v2.avsc', { ...contract, fields: [...fields, note] });
      await until('worked', { status: 200 }, { ...summingEvent, note: 'new' });
      await project.write('schemas/worked/event.v3.avsc', {
        ...contract,
        fields: [...fields, { name: 'extra', type: 'double' }],
      });
      await untilProblem('worked');
      expect(await predict('worked', { ...summingEvent, note: 'still' })).toMatchObject({ status: 200 });
      await project.remove('schemas/worked/event.v3.avsc');
      await untilProblem();
    }));

  it('a new pipeline is opened, and a removed one closed', () =>
    whileOthersWork(async () => {
      await project.add('fresh');
      await until('fresh', { status: 200, score: 6, model_version: '1' });
      const document = await (await fetch(`${whole.http}/openapi.json`)).text();
      expect(document).toContain('/v1/pipelines/fresh/predict');
      await vi.waitFor(
        async () => {
          const query = "SELECT count() FROM millrace.predictions WHERE pipeline = 'fresh'";
          const rows = await fetch(whole.clickhouse, { method: 'POST', body: query });
          expect(Number(await rows.text())).toBeGreaterThan(0);
        },
        { timeout: patience * 30_000, interval: 50 },
      );
      await project.remove('processors/pipelines/fresh');
      await until('fresh', { status: 404, code: 'PIPELINE_UNKNOWN' });
    }));

  it('inputs of a model and the features of its pipeline change together', () =>
    whileOthersWork(async () => {
      const folder = 'processors/pipelines/worked';
      await project.write(
        `${folder}/pipeline.js`,
        `export const pipeline = { name: 'worked',
        features: ({ first, second }) => [first, second], sample: () => (${JSON.stringify(summingEvent)}) };`,
      );
      await project.train('worked', '1', 'two inputs', ['first', 'second']);
      await until('worked', { status: 200, score: 3 });
      await untilProblem();
    }));
});

it(
  'loses and doubles nothing when it is killed while a version takes over',
  { timeout: patience * 120_000 },
  async () => {
    for (const [round, waitMs] of (runsAll ? [100, 400, 900, 1_500] : [900]).entries()) {
      await project.train('worked', '1', `round ${round}`, ['first', 'second']);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      await system.kill();
      start();
      await whenReady(system, whole.http);
      await until('worked', { status: 200, score: 3, model_version: like(version) });
      const models = (await (await fetch(`${whole.http}/v1/models/worked`)).json()) as {
        champion: { version: string };
      };
      await until('worked', { model_version: models.champion.version });
    }
    const settings = { ...whole.settings, ...whole.engines, MILLRACE_PROJECT: project.folder };
    const { exit, output } = await runCommand(auditCommand(), ['--wait', '60'], settings);
    expect(exit, output).toBe(0);
  },
);

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { doctorCommand } from '../../cli/doctor.js';
import { modelsCommand } from '../../cli/models/command.js';
import { SummingProject, summingEvent } from '../../processors/testing/summing-project.js';
import { patience } from './engines/chosen.js';
import { runCommand } from './run-command.js';
import { startSystem, type TestSystem } from './start.js';
import { SteadyClients } from './steady-clients.js';

let project: SummingProject;
let system: TestSystem | undefined;

const settings = (): Record<string, string> => ({
  MILLRACE_PROJECT: project.folder,
  DATA_DIR: project.path('.millrace'),
});

beforeAll(async () => {
  project = await SummingProject.create('one', 'two', 'retrained', 'changed');
});

afterAll(async () => {
  await system?.stop();
  await project.remove();
});

function running(): TestSystem {
  if (system === undefined) throw new Error('the system does not run');
  return system;
}

const get = (path: string): Promise<Response> => running().get(path);
const post = (path: string, body: unknown): Promise<Response> => running().post(path, body);
const sql = (query: string): Promise<unknown[]> => running().sql(query);

interface Problem {
  code: string;
  detail: string;
}

const names = Object.keys(summingEvent);
const event = (id: string): object => ({ ...summingEvent, event_id: id });
const scoredRows = "SELECT event_id FROM millrace.predictions WHERE pipeline = 'retrained' ORDER BY event_id";

describe('with a model that was retrained in place', () => {
  beforeAll(async () => {
    system = await startSystem(settings());
    const answer = await post('/v1/pipelines/retrained/predict', event('before'));
    if (answer.status !== 200) throw new Error(await answer.text());
    await project.train('retrained', '1', 'again');
    await project.change('schemas/changed/event.v1.avsc', {
      fields: [...names, 'fourth'].map((name) => ({ name, type: 'double' })),
    });
    system = await running().restart();
  });

  it('the system starts, is degraded, and says what to do', async () => {
    const { banner } = running();
    const ready = await get('/health/ready');
    expect(ready.status).toBe(200);
    const reason = expect.stringContaining('millrace models unregister retrained 1') as string;
    expect(await ready.json()).toMatchObject({
      status: 'degraded',
      parts: { 'pipeline retrained': { status: 'down', detail: reason }, pipelines: { status: 'up' } },
    });
    expect(banner).toContain('DOWN: the pipeline retrained. ');
    expect(await (await get('/v1/pipelines')).json()).toMatchObject({
      pipelines: [
        { name: 'changed', status: 'down', reason: expect.stringMatching(/compatib/) as string },
        { name: 'one', status: 'up', reason: null },
        { name: 'retrained', status: 'down', reason, models: [] },
        { name: 'two', status: 'up' },
      ],
    });
    expect((await get('/openapi.json')).status).toBe(200);
    expect((await get('/v1/models')).status).toBe(200);
    expect(await (await get('/v1/models/retrained')).json()).toMatchObject({
      serving: { champion: null, problems: [reason] },
    });
    const { output, exit } = await runCommand(doctorCommand(), [], {
      ...settings(),
      MILLRACE_URL: running().endpoints.http,
    });
    expect(exit).toBe(1);
    expect(output).toMatch(/ERROR .*pipeline retrained is down/);
  });

  it.each([
    ['POST', '/v1/pipelines/retrained/predict'],
    ['POST', '/v1/pipelines/retrained/events'],
    ['POST', '/v1/pipelines/retrained/files'],
    ['GET', '/v2/models/retrained'],
    ['GET', '/v2/models/retrained/ready'],
    ['POST', '/v2/models/retrained/infer'],
  ])('%s %s is answered with 503 and the reason', async (method, path) => {
    const answer = await (method === 'GET' ? get(path) : post(path, summingEvent));
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('10');
    const { code, detail, error = detail } = (await answer.json()) as Problem & { error?: string };
    expect(code).toBe('PIPELINE_DOWN');
    expect(error).toContain('The pipeline retrained is down: retrained 1 cannot be loaded as champion');
  });

  it('its events wait, and all others are served while it is repaired', async () => {
    const { endpoints } = running();
    const others = SteadyClients.start(endpoints.http, ['one', 'two'], summingEvent);
    await running().send('retrained.events', 'waiting', event('waiting'));
    await others.answered(10);
    expect(await sql(scoredRows)).toEqual([{ event_id: 'before' }]);
    await project.train('retrained', '2', 'second');
    const unregistered = await runCommand(modelsCommand(), ['unregister', 'retrained', '1', '--force'], {
      ...settings(),
      MILLRACE_URL: endpoints.http,
    });
    expect(unregistered.exit, unregistered.output).toBe(0);
    await vi.waitFor(
      async () => expect(await sql(scoredRows)).toEqual([{ event_id: 'before' }, { event_id: 'waiting' }]),
      { timeout: patience * 30_000, interval: 50 },
    );
    await others.answered(10);
    expect(await others.stop()).toEqual([]);
    expect(await sql('SELECT count() AS letters FROM millrace.dead_letters')).toEqual([{ letters: 0 }]);
    const again = await running().post('/v1/pipelines/retrained/predict', event('after'));
    expect(await again.json()).toMatchObject({ score: 6, model_version: '2' });
    const { parts } = (await (await get('/health/ready')).json()) as { parts: object };
    expect(Object.keys(parts)).not.toContain('pipeline retrained');
    expect(Object.keys(parts)).toContain('pipeline changed');
  });
});

it('is down, but runs and can be repaired, while every pipeline is down', async () => {
  for (const name of ['one', 'two', 'retrained', 'changed']) {
    await project.copy(`models/${name}`, `kept/${name}`);
    await project.remove(`models/${name}`);
  }
  system = await running().restart();
  const ready = await get('/health/ready');
  expect(ready.status).toBe(503);
  expect(await ready.json()).toMatchObject({ status: 'down', parts: { pipelines: { status: 'down' } } });
  await project.copy('kept', 'models');
  await vi.waitFor(
    async () => expect((await post('/v1/pipelines/one/predict', summingEvent)).status).toBe(200),
    {
      timeout: patience * 30_000,
      interval: 50,
    },
  );
});

import { spawnSync } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Endpoints } from '../../app/endpoints.js';
import { packageRoot } from '../../platform/paths.js';
import { freePorts, startCommand } from '../system/programs.js';

interface Prediction {
  event_id: string;
  score: number;
  label: string | null;
  outputs: Record<string, unknown>;
}

/** The example projects: the pipeline, its graph, and rows for `millrace new`. */
const examples: { project: string; pipeline: string; rows: string; options?: string[] }[] = [
  {
    project: 'iris-multiclass',
    pipeline: 'iris',
    rows: 'rows.csv',
    options: ['p_setosa', 'p_versicolor', 'p_virginica'].flatMap((column) => ['--prediction', column]),
  },
  { project: 'titanic-pipeline', pipeline: 'titanic', rows: 'rows.csv' },
  { project: 'sensor-sequence', pipeline: 'forecast', rows: 'examples/forecast.jsonl' },
  { project: 'order-nested', pipeline: 'order-fraud', rows: 'rows.csv' },
];

/** Outputs of the examples' predictions. */
const outputs: Record<string, unknown> = {
  iris: {
    output_probability: {
      setosa: expect.any(Number),
      versicolor: expect.any(Number),
      virginica: expect.any(Number),
    },
  },
  titanic: { probabilities: { died: expect.any(Number), survived: expect.any(Number) } },
  forecast: { prediction: [expect.any(Number), expect.any(Number), expect.any(Number)] },
  'order-fraud': { probabilities: { fine: expect.any(Number), fraud: expect.any(Number) } },
};

describe('the examples, with the package installed', () => {
  let folder: string;
  const path = (...names: string[]): string => join(folder, ...names);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-examples-'));
    run('npm', ['pack', '--pack-destination', folder], packageRoot);
    const [tarball = ''] = await readdir(folder);
    // All copies are in this folder, and so share one installation.
    run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', join(folder, tarball)], folder);
    for (const { project } of examples) {
      await cp(join(packageRoot, 'examples', project), path(project), { recursive: true });
    }
  }, 600_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  describe.each(examples)('$project', ({ project, pipeline }) => {
    it('passes its test', () => {
      expect(run('npm', ['test'], path(project))).toMatch(/pass [1-9]/);
    });

    it('scores an event over HTTP, and stores the prediction', async () => {
      await whileUp(path(project), async (endpoints) => {
        const {
          event_id: id,
          score,
          label,
          outputs: named,
        } = await predict(endpoints, path(project), pipeline);
        expect(named).toMatchObject(outputs[pipeline] as object);
        const sql = `SELECT score, label, outputs FROM millrace.predictions WHERE event_id = '${id}'`;
        const row = await vi.waitFor(
          async () => {
            const response = await fetch(`${endpoints.clickhouse}/?default_format=JSONEachRow`, {
              method: 'POST',
              body: sql,
            });
            const text = await response.text();
            expect(text).toContain('outputs');
            return JSON.parse(text) as { score: number; label: string | null; outputs: string };
          },
          { timeout: 60_000, interval: 200 },
        );
        expect(row).toMatchObject({ score, label });
        expect(JSON.parse(row.outputs)).toEqual(named);
      });
    }, 120_000);
  });

  it('millrace new makes a pipeline of each model that predicts with no file edited', async () => {
    run('npx', ['millrace', 'init', 'own'], folder);
    const own = path('own');
    for (const { project, pipeline, rows, options = [] } of examples) {
      const graph = path(project, 'models', pipeline, '1', 'model.onnx');
      const sample = path(project, rows);
      run('npx', ['millrace', 'new', pipeline, '--model', graph, '--sample', sample, ...options], own);
    }
    await whileUp(own, async (endpoints) => {
      for (const { pipeline } of examples) {
        const { score } = await predict(endpoints, own, pipeline);
        expect(score).toEqual(expect.any(Number));
      }
    });
  }, 240_000);

  /** Runs the project's whole system meanwhile. */
  async function whileUp(project: string, use: (endpoints: Endpoints) => Promise<void>): Promise<void> {
    const ports = await freePorts('kafka', 'registry', 'clickhouse');
    const up = startCommand(
      'env',
      ['-C', project, process.execPath, path('node_modules', '.bin', 'millrace'), 'up', '--no-demo'],
      {
        HOST: '127.0.0.1',
        PORT: '0',
        LOG_LEVEL: 'warn',
        KAFKA_PORT: String(ports.kafka),
        SCHEMA_REGISTRY_PORT: String(ports.registry),
        CLICKHOUSE_PORT: String(ports.clickhouse),
      },
    );
    try {
      const endpoints = await vi.waitFor(
        async () => {
          if (up.hasExited()) throw new Error(up.output());
          return JSON.parse(await readFile(join(project, '.millrace/endpoints.json'), 'utf8')) as Endpoints;
        },
        { timeout: 60_000, interval: 100 },
      );
      await use(endpoints);
      up.signal('SIGINT');
      expect(await up.exited, up.output()).toBe(0);
    } finally {
      if (!up.hasExited()) await up.kill();
    }
  }
});

/** Sends the pipeline's example event. */
async function predict({ http }: Endpoints, project: string, pipeline: string): Promise<Prediction> {
  const response = await fetch(`${http}/v1/pipelines/${pipeline}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: await readFile(join(project, 'examples', `${pipeline}.json`), 'utf8'),
  });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return JSON.parse(text) as Prediction;
}

/** @returns the command's standard output. */
function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  expect(status, `${command} ${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GoldenRow, ModelManifest } from '../../models/manifest.js';
import { packageRoot } from '../../platform/paths.js';
import { createProject } from '../../cli/init.js';
import { newPipeline } from '../../processors/scaffold/new-pipeline.js';
import { freePorts } from '../system/programs.js';
import { startSystem, type TestSystem } from '../system/start.js';
import { describeClient, mlflow } from './installed.js';
import { Program, run } from './program.js';

const shipped = join(packageRoot, 'models', 'credit-default', '1');

interface Detail {
  source: string;
  manifest: ModelManifest;
  golden: { rows: GoldenRow[] };
}

type Logged = Record<string, number> & Record<'species' | 'passengers', Record<string, number>>;

interface Prediction {
  score: number;
  label: string;
  model_version: string;
  outputs: Record<string, Record<string, number>>;
}

const passenger = { age: null, sex: 'female', pclass: 2, fare: 12.5 };

/** Makes a project with `credit-default` and two models of other kinds. */
async function makeProject(folder: string): Promise<string> {
  const project = join(folder, 'project');
  await createProject(project);
  const graphs = join(packageRoot, 'models', 'testing', 'graphs');
  const make = async (name: string, graph: string, rows: string): Promise<void> => {
    const sample = join(folder, `${name}.csv`);
    await writeFile(sample, rows);
    await newPipeline({ project, name, model: join(graphs, graph), sample, maxBytes: 1e6 });
  };
  await make('species', 'iris-columns.onnx', 'a,b,c,d\n5.1,3.5,1.4,0.2\n6.3,3.3,6,2.5\n');
  await make('passengers', 'passengers.onnx', 'age,sex,pclass,fare\n20,male,1,5\n,female,2,8.5\n');
  return project;
}

describeClient(mlflow(), ({ server, models }) => {
  let folder: string;
  let registry: Program;
  let uri: string;
  let system: TestSystem;
  /** The prediction of each model's own library for the first golden row of the champion. */
  let expected: Record<string, number>;
  /** Probabilities of classes by the model's own library. */
  let expectedClasses: Record<string, Record<string, number>>;
  let event: Record<string, number>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-mlflow-'));
    const { port } = await freePorts('port');
    uri = `http://127.0.0.1:${port}`;
    // Its jobs would need packages that a registry does not use; and telemetry stays off.
    process.env['MLFLOW_SERVER_ENABLE_JOB_EXECUTION'] = 'false';
    process.env['DO_NOT_TRACK'] = 'true';
    const store = ['--backend-store-uri', `sqlite:///${folder}/mlflow.db`];
    const artifacts = ['--artifacts-destination', join(folder, 'artifacts'), '--serve-artifacts'];
    const place = ['--host', '127.0.0.1', '--port', String(port), '--workers', '1'];
    registry = new Program(server, [...store, ...artifacts, ...place]);
    await registry.until(({ stdout, stderr }) =>
      `${stdout}${stderr}`.includes('Application startup complete'),
    );
    const { stdout } = await run(models, [uri, shipped]);
    const { species, passengers, ...numbers } = JSON.parse(
      stdout.slice(stdout.lastIndexOf('\n{') + 1),
    ) as Logged;
    expected = numbers;
    expectedClasses = { species, passengers };
    system = await startSystem({ MILLRACE_PROJECT: await makeProject(folder) });
    const manifest = await read<ModelManifest>('model.json');
    const [row] = (await read<{ rows: GoldenRow[] }>('golden.json')).rows;
    event = Object.fromEntries(
      manifest.inputs.map(({ name }, index) => [name, Number(row?.features[index])]),
    );
  }, 600_000);

  afterAll(async () => {
    await system?.stop();
    await registry?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function read<Content>(file: string): Promise<Content> {
    return JSON.parse(await readFile(join(shipped, file), 'utf8')) as Content;
  }

  async function millrace(...args: string[]): Promise<string> {
    process.env['MILLRACE_URL'] = system.endpoints.http;
    const { stdout } = await run(
      [process.execPath, join(packageRoot, 'dist', 'cli', 'main.js')],
      ['models', ...args],
    );
    return stdout;
  }

  function importVersion(reference: string, version: string, ...options: string[]): Promise<string> {
    const names = ['--name', 'credit-default', '--as', version, ...options];
    return millrace('import', reference, '--tracking-uri', uri, ...names);
  }

  async function detail(version: string): Promise<Detail> {
    return (await (await system.get(`/v1/models/credit-default/versions/${version}`)).json()) as Detail;
  }

  describe('models with classes, texts and missing values', () => {
    test.each([
      ['species', { a: 5, b: 2, c: 3.5, d: 1 }, 'probabilities'],
      ['passengers', passenger, 'output_probability'],
    ])('%s', async (name, fields, output) => {
      const args = ['import', `${name}@champion`, '--tracking-uri', uri, '--as', 'imported'];
      await millrace(...args);
      await millrace('promote', name, 'imported');
      const response = await system.post(`/v1/pipelines/${name}/predict`, fields);
      const prediction = (await response.json()) as Prediction;
      expect(prediction.model_version).toBe('imported');
      const chances = expectedClasses[name] ?? {};
      const [label, chance] = Object.entries(chances).toSorted((a, b) => b[1] - a[1])[0] ?? [];
      expect(prediction.label).toBe(label);
      expect(prediction.score).toBeCloseTo(chance ?? Number.NaN, 5);
      const given = prediction.outputs[output] ?? {};
      expect(Object.keys(given)).toEqual(Object.keys(chances));
      for (const [each, value] of Object.entries(chances)) expect(given[each]).toBeCloseTo(value, 5);
    });

    test('other classes are refused', async () => {
      const args = ['import', 'numbered@champion', '--tracking-uri', uri, '--name', 'species'];
      await expect(millrace(...args)).rejects.toThrow('0, 1, 2');
    });
  });

  describe('an imported model scores as its library does:', () => {
    test.each(['zipmap', 'columns', 'double', 'regressor', 'external', 'one-by-one', 'whole-numbers'])(
      '%s',
      async (name) => {
        await importVersion(`${name}@champion`, name);
        await millrace('promote', 'credit-default', name);
        const response = await system.post('/v1/pipelines/credit-default/predict', event);
        const prediction = (await response.json()) as { score: number; model_version: string };
        expect(prediction.model_version).toBe(name);
        expect(prediction.score).toBeCloseTo(expected[name] ?? Number.NaN, 5);
      },
    );
  });

  test("its card has its origin and MLflow's data about it", async () => {
    const { source, manifest, golden } = await detail('zipmap');
    expect(source).toBe(`${uri} zipmap@champion`);
    expect(manifest).toMatchObject({
      license: 'MIT',
      metrics: { auc: 0.75 },
      training: { mlflow: { server: uri, model: 'zipmap', version: '1', parameters: { trees: '10' } } },
      output: { name: 'probability_of_default', decision: { at_or_above: 'default' } },
    });
    expect(golden.rows).toHaveLength(5);
    // It was imported without an example while zipmap was champion.
    const features = ({ golden: { rows } }: Detail) => rows.map((row) => row.features);
    expect(features(await detail('columns'))).toEqual(features(await detail('zipmap')));
  });

  test('a model.json and golden.json among its artifacts are used unchanged', async () => {
    await millrace('import', 'documented/1', '--tracking-uri', uri, '--name', 'credit-default');
    const { manifest, golden } = await detail('2.1');
    expect(manifest.description).toBe('Its own card.');
    expect(golden).toEqual(await read('golden.json'));
  });

  test('a second import finds the version', async () => {
    expect(await importVersion('external/1', 'external')).toContain('is already registered');
  });

  test.each(['staged@Production', 'staged/production', 'models:/staged/Production', 'models:/staged/latest'])(
    'a stage is found by %s',
    async (reference) => {
      expect(await importVersion(reference, 'staged')).toContain('staged');
      expect((await detail('staged')).manifest.training).toMatchObject({
        mlflow: { model: 'staged', version: '1' },
      });
    },
  );

  describe('a pickle is refused with the command that converts it to ONNX:', () => {
    /** Imports a pickle by way of that command, as the version `converted`, and promotes it. */
    async function convert(reference: string, name: string): Promise<void> {
      const args = ['--tracking-uri', uri, '--name', name, '--as', 'converted'];
      const refusal = await millrace('import', `${reference}@champion`, ...args).catch(String);
      const command = /^MLFLOW_TRACKING_URI=.* '1'$/m.exec(refusal)?.[0] ?? '';
      expect(command).not.toBe('');
      await run(['/bin/sh', '-c'], [command.replace(' python -c ', ` '${models[0]}' -c `)]);
      await millrace('import', `${reference}/2`, ...args);
      await millrace('promote', name, 'converted');
    }

    test('of numbers', async () => {
      await convert('no-onnx', 'credit-default');
      const response = await system.post('/v1/pipelines/credit-default/predict', event);
      const { score } = (await response.json()) as Prediction;
      expect(score).toBeCloseTo(expected['double'] ?? Number.NaN, 4);
    });

    test('of texts and numbers', async () => {
      await convert('pickled-passengers', 'passengers');
      const response = await system.post('/v1/pipelines/passengers/predict', passenger);
      const { score } = (await response.json()) as Prediction;
      expect(score).toBeCloseTo(Math.max(...Object.values(expectedClasses['passengers'] ?? {})), 5);
    });
  });

  test.each([
    [
      'columns in another order',
      'swapped@champion',
      [],
      'column 0 is PAY_AMT6 where the champion has LIMIT_BAL',
    ],
    ['another number of inputs', 'species@champion', [], 'with skl2onnx: initial_types=[('],
    ['three classes', 'three-classes@champion', [], 'has 3 columns. Choose one'],
    ['a column that is not there', 'three-classes@champion', ['--column', '3'], 'there is no column 3'],
    ['a stage without a version', 'zipmap/Archived', [], 'no version of zipmap in the stage Archived'],
    ['an alias that is not there', 'zipmap@nobody', [], 'alias nobody not found'],
    ['a version that is not there', 'zipmap/7', [], 'not found'],
    ['a model that is not there', 'nothing@champion', [], 'not found'],
  ])('%s is refused', async (_name, reference, options, reason) => {
    await expect(importVersion(reference, 'refused', ...options)).rejects.toThrow(reason);
    expect((await system.get('/v1/models/credit-default/versions/refused')).status).toBe(404);
  });
});

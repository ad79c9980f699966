import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { MemoryLog } from '../../ingest/testing/memory-log.js';
import { createModelRuntime } from '../../models/runtime.js';
import { copyModel, testingModels } from '../../models/testing/copy-model.js';
import { loadConfig } from '../../platform/config.js';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { SummingProject, summingEvent } from '../testing/summing-project.js';
import { loadPipelines } from './load-pipelines.js';
import { type OpenPipelines, openPipelines } from './open-pipelines.js';

let project: SummingProject;
let log: MemoryLog;

beforeEach(async () => {
  project = await SummingProject.create('good', 'bad');
  log = new MemoryLog();
});

afterEach(() => project.remove());

async function open(): Promise<OpenPipelines> {
  const config = loadConfig({
    MILLRACE_PROJECT: project.folder,
    DATA_DIR: join(project.folder, '.millrace'),
  });
  const runtime = createModelRuntime();
  const { streams, serde } = log;
  const [metrics, logger] = [createMetrics(), silentLogger];
  const opened = await openPipelines({ config, streams, serde, runtime, metrics, logger });
  onTestFinished(async () => {
    await opened.close();
    await runtime.close();
  });
  return opened;
}

/** The score of an event; for a pipeline that is down, its reason. */
async function ask({ pipelines }: OpenPipelines, name: string): Promise<number | string> {
  try {
    const [score] = await pipelines.find(name).scorer.score([{ fields: summingEvent, key: 'k' }]);
    return score === undefined || score instanceof MillraceError ? String(score) : score.score;
  } catch (error) {
    return error instanceof MillraceError ? `${error.code}: ${error.message}` : String(error);
  }
}

const contract = 'schemas/bad/event.v1.avsc';
const file = 'processors/pipelines/bad/pipeline.json';
const code = 'processors/pipelines/bad/pipeline.js';
const model = 'models/bad/1/model.json';
const golden = 'models/bad/1/golden.json';

/** A pipeline with code in place of its pipeline.json. */
async function writeCode(members: string): Promise<void> {
  await project.remove(file);
  await project.write(code, `export const pipeline = { name: 'bad', ${members} };`);
}

const sum = 'features: ({ first, second, third }) => [first, second, third]';

/**
 * Gives the model a graph that divides by zero where no value is missing: skl2onnx's, of KNNImputer and
 * LinearRegression.
 */
async function crash(): Promise<void> {
  const inputs = Array.from({ length: 10 }, (_, index) => `input${index}`);
  await copyModel(project.path('models/bad/1'), project.path('crashes'), {
    onnx: await readFile(join(testingModels, 'graphs', 'imputed-by-neighbours.onnx')),
    manifest: {
      runtime: { format: 'onnx', opsets: {}, input_tensor: 'features', output_tensor: 'variable' },
      inputs: inputs.map((name) => ({ name, dtype: 'float32' })),
    },
    golden: [{ features: inputs.map(() => 0), prediction: 0 }],
  });
  await project.copy('crashes', 'models/bad/1');
}

const faults: [string, () => Promise<void>, RegExp][] = [
  ['a pipeline.json that is not JSON', () => project.write(file, '{'), /pipeline\.json/],
  ['an unknown member of pipeline.json', () => project.write(file, { mdel: 'x' }), /mdel/],
  ['no file of the pipeline', () => project.remove(file), /no pipeline\.json/],
  ['code that throws', () => writeCode(`${sum}, models: missing()`), /missing is not defined/],
  [
    'another export',
    () => project.write(code, 'export const other = 1;').then(() => project.remove(file)),
    /no export/,
  ],
  ['no contract', () => project.remove('schemas/bad'), /schemas\/bad/],
  ['a contract that is not JSON', () => project.write(contract, '{'), /event\.v1\.avsc/],
  [
    'a contract with an unsupported type',
    () => project.change(contract, { fields: [{ name: 'first', type: 'bytes' }] }),
    /bytes/,
  ],
  ['no folder of the model', () => project.remove('models/bad'), /bad has no champion: No model bad/],
  ['a model.json that is not JSON', () => project.write(model, '{'), /model\.json is invalid/],
  ['a golden.json that is not JSON', () => project.write(golden, '{'), /golden\.json is invalid/],
  ['a graph that can’t be loaded', () => project.write('models/bad/1/model.onnx', 'garbage'), /SHA-256/],
  [
    'a model that misses its golden rows',
    () => project.change(golden, { rows: [{ features: [1, 2, 3], prediction: 7 }] }),
    /golden row 0/,
  ],
  ['a graph that crashes onnxruntime', crash, /onnxruntime crashed \(SIGFPE\)/],
  [
    'an input without a field',
    () =>
      project
        .write(file, { inputs: { first: 'second' } })
        .then(() => project.change(contract, { fields: [{ name: 'second', type: 'double' }] })),
    /third.*do not have/,
  ],
  ['too few features', () => writeCode('features: ({ first }) => [first]'), /makes 1 features.*takes 3/],
  ['too few features of a sample', () => writeCode('features: () => [1], sample: () => ({})'), /takes 3/],
  [
    'a sample that throws',
    () => writeCode(`${sum}, sample: () => { throw new Error('no luck'); }`),
    /no luck/,
  ],
  [
    'a feature function that throws',
    () => writeCode(`sample: () => ({}), features: () => { throw new Error('no way'); }`),
    /no way/,
  ],
];

describe('a pipeline with a fault is down, and the others serve', () => {
  it.each(faults)('%s', async (_, spoil, reason) => {
    await spoil();
    const opened = await open();
    expect(await ask(opened, 'good')).toBe(6);
    const answer = await ask(opened, 'bad');
    expect(answer).toMatch(/^PIPELINE_DOWN: The pipeline bad is down: /);
    expect(answer).toMatch(reason);
    expect([...opened.pipelines.down.keys()]).toEqual(['bad']);
  });
});

describe('a model that was retrained in place', () => {
  it('makes its pipeline down, and the reason names the ways out', async () => {
    await open();
    await project.train('bad', '1', 'again');
    const opened = await open();
    expect(await ask(opened, 'good')).toBe(6);
    const answer = await ask(opened, 'bad');
    for (const way of ['models/bad/2', 'millrace up --dev', 'millrace models unregister bad 1'])
      expect(answer).toContain(way);
  });

  it('serves again by itself when the folder is restored', async () => {
    await open();
    await project.copy('models/bad', 'kept');
    await project.train('bad', '1', 'again');
    const opened = await open();
    const changes: string[] = [];
    opened.pipelines.onChange((name) => changes.push(name));
    expect(await ask(opened, 'bad')).toContain('PIPELINE_DOWN');
    await project.copy('kept', 'models/bad');
    await expect.poll(() => ask(opened, 'bad'), { timeout: 40_000 }).toBe(6);
    expect(changes).toEqual(['bad']);
  });

  it('serves again when another version is promoted', async () => {
    await project.train('bad', '2', 'second');
    const { lifecycle } = await open();
    expect(lifecycle.get('bad').champion?.version).toBe('2');
    await project.train('bad', '2', 'again');
    await project.remove('models/bad/1');
    const opened = await open();
    expect(await ask(opened, 'bad')).toContain('PIPELINE_DOWN');
    await project.train('bad', '3', 'third');
    await open();
    await opened.lifecycle.promote('bad', '3', 'test');
    await expect.poll(() => ask(opened, 'bad'), { timeout: 40_000 }).toBe(6);
  });

  it('does not disturb the champion when it is another version', async () => {
    await project.train('good', '2', 'second');
    await open();
    for (const note of ['again', 'and again']) {
      await project.train('good', '1', note);
      const opened = await open();
      expect([...opened.pipelines.keys()].toSorted()).toEqual(['bad', 'good']);
      expect(opened.served.problems()).toEqual([]);
    }
  });

  it('is registered anew after it was unregistered', async () => {
    await open();
    await project.train('bad', '1', 'again');
    const opened = await open();
    await opened.lifecycle.unregister('bad', '1', { force: true }, 'test');
    expect(await ask(await open(), 'bad')).toBe(6);
  });
});

it('does not register a first version that can’t be loaded, so that it may be corrected in place', async () => {
  await project.change(golden, { rows: [{ features: [1, 2, 3], prediction: 7 }] });
  const opened = await open();
  expect(await ask(opened, 'bad')).toContain('PIPELINE_DOWN');
  await project.train('bad', '1', 'corrected');
  await expect.poll(() => ask(opened, 'bad'), { timeout: 40_000 }).toBe(6);
  expect(opened.lifecycle.get('bad').champion?.version).toBe('1');
});

describe('a change of a pipeline', () => {
  /** Loads the changed pipeline from its folder. */
  async function reload(opened: OpenPipelines, name: string): Promise<MillraceError | undefined> {
    const loaded = (await loadPipelines(project.folder)).find((each) => each.name === name);
    if (loaded === undefined) throw new Error(`there is no pipeline ${name}`);
    return opened.load(loaded);
  }

  it('takes over, and leaves the others alone', async () => {
    const opened = await open();
    const other = opened.pipelines.find('bad');
    await project.write('processors/pipelines/good/pipeline.json', { inputs: { third: 'first' } });
    expect(await reload(opened, 'good')).toBeUndefined();
    expect(await ask(opened, 'good')).toBe(4);
    expect(opened.pipelines.find('bad')).toBe(other);
  });

  it('that can’t serve leaves the last good form', async () => {
    const opened = await open();
    for (const wrong of ['{', { models: ['none'] }, { inputs: { third: 'fourth' } }]) {
      await project.write('processors/pipelines/good/pipeline.json', wrong);
      expect(await reload(opened, 'good')).toBeInstanceOf(MillraceError);
      expect(await ask(opened, 'good')).toBe(6);
    }
    expect(opened.lifecycle.models.toSorted()).toEqual(['bad', 'good']);
  });

  it('repairs one that is down', async () => {
    await project.write(file, '{');
    const opened = await open();
    expect(await ask(opened, 'bad')).toContain('PIPELINE_DOWN');
    await project.write(file, '{}');
    expect(await reload(opened, 'bad')).toBeUndefined();
    expect(await ask(opened, 'bad')).toBe(6);
  });

  it('opens a new one, and closes a removed one', async () => {
    const opened = await open();
    await project.add('third');
    expect(await reload(opened, 'third')).toBeUndefined();
    expect(await ask(opened, 'third')).toBe(6);
    await opened.remove('third');
    expect(await ask(opened, 'third')).toContain('PIPELINE_UNKNOWN');
    expect(opened.served.find('third')).toBeUndefined();
    expect(await ask(opened, 'good')).toBe(6);
  });
});

import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Golden, ModelManifest } from '../../models/manifest.js';
import { float, graph, modelOf, node, valueInfo } from '../../models/testing/onnx-graph.js';
import { packageRoot } from '../../platform/paths.js';
import { addVersion, type AddVersionOptions } from './add-version.js';
import { newPipeline } from './new-pipeline.js';

let project: string;

const toy = (name: string): string => join(packageRoot, 'models', 'testing', 'graphs', `${name}.onnx`);
const header = 'sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)';

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'millrace-add-'));
  await mkdir(join(project, 'processors', 'pipelines'), { recursive: true });
  const sample = await file('iris.csv', `${header}\n5.1,3.5,1.4,0.2\n6.3,3.3,6,2.5\n`);
  await newPipeline({ project, name: 'iris', model: toy('iris-columns'), sample, maxBytes: 1e6 });
  const sum = modelOf(
    graph(
      [node('Add', ['a', 'b'], 'y')],
      [valueInfo('a', float, ['n', 1]), valueInfo('b', float, ['n', 1])],
      [valueInfo('y', float, ['n', 1])],
    ),
  );
  const rows = await file('rows.csv', 'a,b\n1,2\n3,4\n');
  await newPipeline({
    project,
    name: 'sum',
    model: await file('sum.onnx', sum),
    sample: rows,
    maxBytes: 1e6,
  });
});
afterAll(() => rm(project, { recursive: true }));

async function file(name: string, content: string | Uint8Array): Promise<string> {
  await writeFile(join(project, name), content);
  return join(project, name);
}

function add(
  options: Pick<AddVersionOptions, 'model'> & Partial<AddVersionOptions>,
): ReturnType<typeof addVersion> {
  return addVersion({ project, name: 'iris', maxBytes: 1e6, ...options });
}

const versions = (name: string): Promise<string[]> => readdir(join(project, 'models', name));
const read = (path: string): unknown => JSON.parse(readFileSync(join(project, path), 'utf8'));

it('writes the next version, whichever outputs the graph has for the same classes', async () => {
  const { version, folder } = await add({ model: toy('iris-zipmap') });
  expect(version).toBe('2');
  const manifest = read(`${folder}/model.json`) as ModelManifest;
  expect(manifest).toMatchObject({
    version: '2',
    runtime: { output_tensor: 'output_probability', label_tensor: 'output_label' },
    output: { name: 'probabilities', classes: ['setosa', 'versicolor', 'virginica'] },
  });
  const before = read('models/iris/1/golden.json') as Golden;
  const after = read(`${folder}/golden.json`) as Golden;
  expect(after.rows.map(({ features }) => features)).toEqual(before.rows.map(({ features }) => features));
  expect(after.independent).toBe(false);
});

it('takes golden rows of a sample whose columns are named as the fields of events', async () => {
  const sample = await file(
    'new.csv',
    'petal_width_cm,petal_length_cm,sepal_width_cm,sepal_length_cm,predicted\n2.5,6,3.3,6.3,virginica\n',
  );
  const { folder } = await add({ model: toy('iris-nearest'), sample, version: 'nearest' });
  expect(read(`${folder}/golden.json`)).toMatchObject({
    rows: [{ features: [6.3, 3.3, 6, 2.5], label: 'virginica' }],
  });
  expect((read(`${folder}/model.json`) as ModelManifest).inputs[0]).toMatchObject({ range: [6.3, 6.3] });
});

it('takes one matrix for the inputs of several tensors', async () => {
  const matrix = modelOf(
    graph(
      [node('ReduceMean', ['x'], 'y', { keepdims: { int: 0 } })],
      [valueInfo('x', float, ['n', 2])],
      [valueInfo('y', float, [])],
    ),
  );
  await expect(add({ name: 'sum', model: await file('whole.onnx', matrix) })).rejects.toMatchObject({
    message: expect.stringContaining('its output y is [] for 2 rows') as string,
  });
  const softmax = modelOf(
    graph(
      [node('Softmax', ['x'], 'y', { axis: { int: 1 } })],
      [valueInfo('x', float, ['n', 2])],
      [valueInfo('y', float, ['n', 2])],
    ),
  );
  const { folder, notes } = await add({ name: 'sum', model: await file('matrix.onnx', softmax) });
  expect(read(`${folder}/model.json`)).toMatchObject({
    runtime: { input_tensor: 'x', output_tensor: 'y', output_column: 1 },
    inputs: [{ name: 'a' }, { name: 'b' }],
  });
  expect(notes.join(' ')).toContain('second of two columns');
});

it.each<[string, Partial<AddVersionOptions> & { model: string }, string, RegExp]>([
  [
    'other classes',
    { model: toy('iris-whole-number-labels') },
    'MODEL_REFUSED',
    /^The graph cannot be served: its classes are -1, 0, 9007199254740993, and those of the other versions are setosa/,
  ],
  [
    'another number of inputs',
    { model: toy('petal') },
    'MODEL_REFUSED',
    /takes the input X float32 \[batch, 3\], and iris has 4 inputs: sepal length/,
  ],
  [
    'a version that exists',
    { model: toy('iris-zipmap'), version: '1' },
    'FILES_EXIST',
    /models\/iris\/1 exists/,
  ],
  [
    'a version that is no folder name',
    { model: toy('iris-zipmap'), version: '../2' },
    'MODEL_INVALID',
    /can’t be named '\.\.\/2'/,
  ],
  [
    'a model that is not there',
    { model: toy('iris-zipmap'), name: 'nothing' },
    'MODEL_NOT_FOUND',
    /No model nothing/,
  ],
])('refuses %s', async (_what, options, code, message) => {
  const before = await versions('iris');
  await expect(add(options)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message) as string,
  });
  expect(await versions('iris')).toEqual(before);
});

it('refuses a sample without a column for an input', async () => {
  const sample = await file('few.csv', 'petal_width_cm\n2.5\n');
  await expect(add({ model: toy('iris-zipmap'), sample })).rejects.toThrow(
    'has no column sepal length (cm) or sepal_length_cm for the input sepal length (cm). Its columns are petal_width_cm.',
  );
});

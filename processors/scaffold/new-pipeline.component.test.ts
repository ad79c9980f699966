import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Golden, ModelManifest } from '../../models/manifest.js';
import { summing } from '../../models/testing/kind-graphs.js';
import {
  double,
  float,
  graph,
  int64,
  modelOf,
  node,
  tensor,
  text,
  valueInfo,
} from '../../models/testing/onnx-graph.js';
import { packageRoot } from '../../platform/paths.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { loadPipeline } from '../pipelines/load-pipelines.js';
import { newPipeline, type NewPipelineOptions } from './new-pipeline.js';

let root: string;
let project: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-new-'));
});
beforeEach(async () => {
  project = join(root, String(++count));
  await mkdir(join(project, 'processors', 'pipelines'), { recursive: true });
});
afterAll(() => rm(root, { recursive: true }));

const toy = (name: string): string => join(packageRoot, 'models', 'testing', 'graphs', `${name}.onnx`);

async function file(name: string, content: string | Uint8Array): Promise<string> {
  await writeFile(join(project, name), content);
  return join(project, name);
}

function make(options: Partial<NewPipelineOptions> & { model: string }): ReturnType<typeof newPipeline> {
  return newPipeline({ project, name: 'p', maxBytes: 1e6, ...options });
}

function read(path: string): unknown {
  return JSON.parse(readFileSync(join(project, path), 'utf8'));
}

const manifest = (): ModelManifest => read('models/p/1/model.json') as ModelManifest;
const golden = (): Golden => read('models/p/1/golden.json') as Golden;
const contract = (): RecordSchema => read('schemas/p/event.v1.avsc') as RecordSchema;
const typesOf = ({ fields }: RecordSchema): Record<string, unknown> =>
  Object.fromEntries(fields.map(({ name, type }) => [name, type]));

const irisHeader = 'sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)';
const irisRows = `5.1,3.5,1.4,0.2\n7,3.2,4.7,1.4\n6.3,3.3,6,2.5\n`;

describe('a matrix', () => {
  it('takes the columns in their order, with field names that Avro allows', async () => {
    const sample = await file('iris.csv', `${irisHeader}\n${irisRows}`);
    const { files, answer } = await make({ model: toy('iris-columns'), sample });
    expect(files.filter((each) => !existsSync(join(project, each)))).toEqual([]);
    expect(answer).toMatchObject({ label: 'setosa', outputs: { probabilities: {} } });
    expect(typesOf(contract())).toEqual({
      sepal_length_cm: 'double',
      sepal_width_cm: 'double',
      petal_length_cm: 'double',
      petal_width_cm: 'double',
    });
    expect(manifest()).toMatchObject({
      runtime: { input_tensor: 'X', output_tensor: 'probabilities', label_tensor: 'label' },
      output: { classes: ['setosa', 'versicolor', 'virginica'] },
    });
    expect(manifest().inputs[0]).toEqual({ name: 'sepal length (cm)', dtype: 'float32', range: [5.1, 7] });
    expect(golden()).toMatchObject({
      independent: false,
      rows: [{ features: [5.1, 3.5, 1.4, 0.2], label: 'setosa' }, {}, {}],
    });
    const { pipeline } = await loadPipeline(project, 'p');
    expect(pipeline.inputs).toMatchObject({ 'petal width (cm)': 'petal_width_cm' });
    expect(pipeline.sample?.(() => 0)).toEqual(read('examples/p.json'));
  });

  it('of 16-bit floats has golden rows within their precision', async () => {
    const sample = await file('halves.csv', 'a,b\n0.5,1.25\n2,-1\n');
    const model = await file('halves.onnx', summing('float16', 2));
    await make({ model, sample });
    expect(golden().rows.map(({ prediction }) => prediction)).toEqual([1.75, 1]);
  });

  it('has golden rows of the training library, if the sample has its predictions', async () => {
    const sample = await file('petal.csv', 'a,b,c,prediction\n5.1,3.5,1.4,0.9474399678\n6.7,3,5.2,1.4367\n');
    await expect(make({ model: toy('petal'), sample })).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(
        /^Row 2 of the sample has 1\.4367 in prediction, and the graph gives 1\.\d+\. Check that/,
      ) as string,
    });
    expect(await readdir(project)).toEqual(['petal.csv', 'processors']);
  });

  it('has an array field for a column of lists', async () => {
    const sample = await file('rows.jsonl', '{"x":[5.1,3.5,1.4,0.2],"id":7}\n');
    await make({ model: toy('iris-columns'), sample, key: 'id' });
    expect(typesOf(contract())).toEqual({
      x: { type: 'array', items: 'double', minItems: 4, maxItems: 4 },
      id: 'long',
    });
    expect(manifest().inputs).toMatchObject([{ name: 'X', shape: [4] }]);
    expect(read('processors/pipelines/p/pipeline.json')).toMatchObject({ key: 'id', inputs: { X: 'x' } });
  });

  it('has fields f0, f1, … without a sample', async () => {
    const { notes } = await make({ model: toy('iris-double') });
    expect(Object.keys(typesOf(contract()))).toEqual(['f0', 'f1', 'f2', 'f3']);
    expect(manifest().inputs[0]).toEqual({ name: 'f0', dtype: 'float64' });
    expect(notes.join(' ')).toContain('Ranges are unknown');
  });

  it.each([
    ['too few columns', 'a,b\n1,2\n', 'takes 4 values per row, and .* has 2 columns for them: a, b'],
    [
      'a column too many',
      'a,b,c,d,e\n1,2,3,4,5\n',
      'has 5 columns for them: a, b, c, d, e. Name those that are no inputs with --label',
    ],
    [
      'text',
      'a,b,c,d\n1,2,3,red\n4,5,6,blue\n',
      "column d of .* is text, such as 'red', and the graph takes numbers",
    ],
    [
      'mixed types',
      'a,b,c,d\n1,2,3,4\n4,5,6,x\n',
      "Row 2 of .* has 'x' in the column d, and the graph takes numbers",
    ],
    [
      'a decimal comma',
      'a;b;c;d\n1;2;3;4\n4;5;6;1,5\n',
      "Row 2 of .* has '1,5' in the column d.*with a point",
    ],
    ['no header', '1,2,3,4\n4,5,6,7\n', 'first row .* has no names of columns'],
    ['no rows', 'a,b,c,d\n', 'has no rows'],
    ['a column twice', 'a,b,a,d\n1,2,3,4\n', 'names a twice'],
  ])('is refused with %s, and nothing is written', async (_what, content, reason) => {
    const sample = await file('rows.csv', content);
    await expect(make({ model: toy('iris-columns'), sample })).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringMatching(reason) as string,
    });
    expect(await readdir(project)).toEqual(['processors', 'rows.csv']);
  });

  it('takes numbers for the texts of a column', async () => {
    const sample = await file('rows.csv', 'a,b,c,d\n1,2,3,red\n4,5,6,blue\n');
    const codes = await file('codes.json', '{"red":0,"blue":1}');
    await make({ model: toy('iris-columns'), sample, encodings: new Map([['d', codes]]) });
    expect(typesOf(contract())).toMatchObject({ d: 'string' });
    expect(manifest().inputs[3]).toMatchObject({ encoding: { red: 0, blue: 1 } });
  });

  it.each([
    ['label', { label: 'nothing' }, '--label'],
    ['key', { key: 'nothing' }, '--key'],
    ['prediction', { predictions: ['nothing'] }, '--prediction'],
  ])('is refused with a %s that is no column', async (_what, options, reason) => {
    const sample = await file('iris.csv', `${irisHeader}\n${irisRows}`);
    await expect(make({ model: toy('iris-columns'), sample, ...options })).rejects.toThrow(
      `has no column nothing, which ${reason} names. Its columns are sepal length (cm), `,
    );
  });
});

describe('predictions in the sample', () => {
  it('may be labels', async () => {
    const rows = irisRows
      .trim()
      .split('\n')
      .map((row, at) => `${row},${['setosa', 'versicolor', 'virginica'][at]}`);
    const sample = await file('iris.csv', `${irisHeader},predicted\n${rows.join('\n')}\n`);
    const { notes } = await make({ model: toy('iris-columns'), sample });
    expect(notes.join(' ')).toContain('The column predicted has the labels');
    expect(golden().rows.map(({ label }) => label)).toEqual(['setosa', 'versicolor', 'virginica']);
    expect(golden().independent).toBe(false);
  });

  it('may be a probability for each class', async () => {
    const sample = await file(
      'iris.csv',
      `${irisHeader},p_virginica,p_setosa,p_versicolor\n5.1,3.5,1.4,0.2,0,0.9816569,0.0183431\n`,
    );
    await make({
      model: toy('iris-columns'),
      sample,
      predictions: ['p_virginica', 'p_setosa', 'p_versicolor'],
    });
    expect(golden().independent).toBeUndefined();
    expect(golden().rows[0]).toMatchObject({
      prediction: 0.9816569,
      label: 'setosa',
      outputs: { probabilities: { versicolor: 0.0183431 } },
    });
  });
});

describe('a window', () => {
  it('is an array field, and its vector is in the outputs', async () => {
    const sample = await file(
      'rows.jsonl',
      '{"sensor":"a","window":[1,2,3,4,5,9]}\n{"sensor":"b","window":[1,1,1,1,1,1]}\n',
    );
    const { answer, notes } = await make({ model: toy('window'), sample, key: 'sensor' });
    expect(answer).toEqual({ score: 9, label: null, outputs: { forecast: [9, 4] } });
    expect(notes.join(' ')).toContain('forecast has 2 numbers per row');
    expect(typesOf(contract())).toMatchObject({
      window: { type: 'array', items: 'double', minItems: 6, maxItems: 6 },
    });
    expect(manifest().inputs).toEqual([{ name: 'window', dtype: 'float32', shape: [1, 6], range: [1, 9] }]);
  });

  it('is read from columns window.0, window.1, …', async () => {
    const header = [0, 1, 2, 3, 4, 5].map((at) => `window.${at}`).join(',');
    const sample = await file('rows.csv', `${header},mean\n1,2,3,4,5,9,4\n`);
    await make({ model: toy('window'), sample, label: 'mean', choice: { column: 1 } });
    expect(read('examples/p.json')).toEqual({ window: [1, 2, 3, 4, 5, 9] });
    expect(golden().rows[0]?.prediction).toBe(4);
  });

  it('is refused with a list of another length', async () => {
    const sample = await file('rows.jsonl', '{"window":[1,2,3]}\n');
    await expect(make({ model: toy('window'), sample })).rejects.toThrow(
      'Feature window is a list of 3; its model takes a list of the shape [1, 6]',
    );
  });
});

describe('one tensor for each feature', () => {
  const add = modelOf(
    graph(
      [node('Add', ['age', 'total'], 'y')],
      [valueInfo('age', float, ['n', 1]), valueInfo('total', float, ['n', 1])],
      [valueInfo('y', float, ['n', 1])],
    ),
  );

  it('is refused with a whole number that JavaScript would round', async () => {
    const onnx = modelOf(
      graph(
        [node('Identity', ['n'], 'y')],
        [valueInfo('n', int64, ['n', 1])],
        [valueInfo('y', int64, ['n', 1])],
      ),
    );
    const sample = await file('rows.csv', 'n\n1\n9007199254740993\n');
    await expect(make({ model: await file('n.onnx', onnx), sample })).rejects.toThrow(
      /^Row 2 of .* in the column n, and the graph takes whole numbers within ±\(2\^53 - 1\) there \(int64\)/,
    );
  });

  it('takes values of records, and keeps the other fields as optional', async () => {
    const rows = [
      {
        id: 'a',
        customer: { age: 31, country: 'DE' },
        items: [{ sku: 'x', price: 3.5 }],
        tags: { promo: 'yes' },
        total: 7,
      },
      {
        id: 'b',
        customer: { age: 22, country: 'FR' },
        items: [],
        tags: { channel: 'web' },
        total: 9.5,
        event_id: 'e1',
      },
    ];
    const sample = await file('rows.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    const { answer } = await make({ model: await file('add.onnx', add), sample, key: 'id' });
    expect(answer.score).toBe(38);
    const types = typesOf(contract());
    expect(types).toMatchObject({
      id: 'string',
      tags: ['null', { type: 'map', values: 'string' }],
      total: 'double',
    });
    expect(types['customer']).toMatchObject({
      type: 'record',
      fields: [{ name: 'age', type: 'double' }, { type: ['null', 'string'] }],
    });
    expect(types['items']).toMatchObject([
      'null',
      { type: 'array', items: { fields: [{ name: 'sku', type: 'string' }, {}] } },
    ]);
    expect(read('processors/pipelines/p/pipeline.json')).toMatchObject({ inputs: { age: 'customer.age' } });
  });

  it('refuses missing values where the graph gives NaN for them, and says so', async () => {
    const sample = await file('rows.csv', 'age,total\n31,7\n,9\n');
    const { notes } = await make({ model: await file('add.onnx', add), sample });
    expect(manifest().inputs[0]).toMatchObject({ missing: 'refuse' });
    expect(typesOf(contract())).toMatchObject({ age: ['null', 'double'], total: 'double' });
    expect(notes.join(' ')).toContain('An event without age is refused');
    expect(golden().rows).toHaveLength(1);
  });

  it('is refused without a column for an input', async () => {
    const sample = await file('rows.csv', 'Age,sum\n31,7\n');
    await expect(make({ model: await file('add.onnx', add), sample })).rejects.toThrow(
      'has no column for the input total float32 [batch, ?] of the graph. Its columns are Age, sum.'.replace(
        '?',
        '1',
      ),
    );
  });

  it('is refused with a number in one row and text in another', async () => {
    const sample = await file('rows.jsonl', '{"age":1,"total":2,"note":1}\n{"age":1,"total":2,"note":"x"}\n');
    await expect(make({ model: await file('add.onnx', add), sample })).rejects.toThrow(
      /^note is the number 1 in row 1 of .*, and the text 'x' in row 2\./,
    );
  });
});

describe('a graph that cannot be served', () => {
  const y = [valueInfo('y', float, ['n', 5])];
  const [a, b] = [valueInfo('a', float, ['n', 3]), valueInfo('b', float, ['n', 2])];
  const identity = (input: Uint8Array, output: Uint8Array) =>
    modelOf(graph([node('Identity', ['a'], 'y')], [input], [output]));

  it.each<[string, Uint8Array, string]>([
    [
      'two matrices',
      modelOf(graph([node('Concat', ['a', 'b'], 'y', { axis: { int: 1 } })], [a, b], y)),
      'it has 2 inputs, and nothing says what the columns of a float32 [batch, 3] and b float32 [batch, 2] are',
    ],
    [
      'a dynamic dimension',
      identity(valueInfo('a', float, ['n', 'k', 3]), valueInfo('y', float, ['n', 'k', 3])),
      'its input a float32 [batch, ?, 3] has a dimension without a size',
    ],
    [
      'a fixed batch',
      identity(valueInfo('a', float, [1, 3]), valueInfo('y', float, [1, 3])),
      'takes exactly 1 row per call. Export it with a dynamic batch',
    ],
    [
      'only text',
      identity(valueInfo('a', text, ['n', 1]), valueInfo('y', text, ['n', 1])),
      'it has no output with numbers, only y string [batch, 1]',
    ],
    [
      'no inputs',
      modelOf(
        graph(
          [node('Constant', [], 'y', { value: { tensor: tensor(float, [1], Buffer.alloc(4)) } })],
          [],
          [valueInfo('y', float, [1])],
        ),
      ),
      'it has no inputs',
    ],
    [
      'a pickle',
      Buffer.from('\x80\x04\x95sklearn', 'latin1'),
      'is no ONNX graph but a Python pickle. Convert',
    ],
    ['a text file', Buffer.from('hello'), 'is no ONNX graph. Export'],
    ['the ORT format', Buffer.from('\x08\x08\x0a\x02ORTM', 'latin1'), 'is in onnxruntime’s own format'],
  ])('is refused with its reason: %s', async (_what, onnx, reason) => {
    await expect(make({ model: await file('m.onnx', onnx) })).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringContaining(reason) as string,
    });
    expect(await readdir(project)).toEqual(['m.onnx', 'processors']);
  });

  it('may have whole numbers as its only output', async () => {
    const onnx = modelOf(
      graph(
        [node('Cast', ['a'], 'y', { to: { int: int64 } })],
        [valueInfo('a', double, ['n', 1])],
        [valueInfo('y', int64, ['n', 1])],
      ),
    );
    const { notes } = await make({ model: await file('m.onnx', onnx) });
    expect(manifest().output).toMatchObject({ dtype: 'int64' });
    expect(notes.join(' ')).toContain('The score is the int64 output y.');
  });
});

it('overwrites nothing', async () => {
  await make({ model: toy('iris-columns') });
  const before = readFileSync(join(project, 'models/p/1/model.json'));
  await expect(make({ model: toy('petal') })).rejects.toMatchObject({ code: 'FILES_EXIST' });
  expect(readFileSync(join(project, 'models/p/1/model.json'))).toEqual(before);
});

it.each([
  ['a name that topics cannot have', 'a b', 'PIPELINE_INVALID'],
  ['a reserved name', 'millrace', 'PIPELINE_INVALID'],
])('refuses %s', async (_what, name, code) => {
  await expect(make({ model: toy('petal'), name })).rejects.toMatchObject({ code });
});

it('refuses a folder that is no project', async () => {
  await expect(make({ model: toy('petal'), project: root })).rejects.toMatchObject({
    code: 'PROJECT_INVALID',
  });
});

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { severalOutputs } from '../../models/testing/several-outputs.js';
import { packageRoot } from '../../platform/paths.js';
import type { AvroType, ContractField } from '../../schemas/contracts.js';

/** A pipeline of the project, its model and an event. */
interface Toy {
  fields: ContractField[];
  /** JavaScript of the features of `event`. */
  features: string;
  onnx: Uint8Array;
  runtime: object;
  inputs: object[];
  output: object;
  outputs?: object[];
  golden: { features: unknown[]; prediction: number };
}

const classes = ['setosa', 'versicolor', 'virginica'];
const measures = ['sepal_length', 'sepal_width', 'petal_length', 'petal_width'];

/** Events of each pipeline, by its name. */
export const toyEvents = {
  'iris-zipmap': { sepal_length: 5.1, sepal_width: 3.5, petal_length: 1.4, petal_width: 0.2 },
  'iris-columns': { sepal_length: 6.1, sepal_width: 2.8, petal_length: 4.7, petal_width: 1.2 },
  window: { readings: [1, 2, 3, 4, 5, 6] },
  several: { a: 1, b: 2, c: 3 },
  binary: { a: -1, b: -2, c: -3 },
  worded: { a: 1, b: 2, c: 3 },
  order: { customer: { age: 30, address: null }, amounts: [1, 2.5], tags: { red: -4 } },
} as const;

const address: AvroType = {
  type: 'record',
  name: 'Address',
  fields: [{ name: 'city', type: 'string' }],
};
const orderFields: ContractField[] = [
  {
    name: 'customer',
    type: {
      type: 'record',
      name: 'Customer',
      fields: [
        { name: 'age', type: 'int', minimum: 18 },
        { name: 'address', type: ['null', address], default: null },
      ],
    },
  },
  { name: 'amounts', type: { type: 'array', items: 'double' } },
  { name: 'tags', type: { type: 'map', values: 'double' } },
];

/**
 * Writes a project whose pipelines have models that give more than a number: `iris-zipmap` and `iris-columns`
 * (a probability for each of three classes, as texts), `window` (a window in, a vector out), `several` (all
 * kinds of outputs, two with names that are taken), `binary` (one number and a decision), `worded` (one
 * number and a label that the graph decides) and `order` (the same for a nested event).
 *
 * @returns its folder.
 */
export async function writeToyProject(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-project-'));
  for (const [name, toy] of Object.entries(await toys())) await writeToy(folder, name, toy);
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

async function toys(): Promise<Record<keyof typeof toyEvents, Toy>> {
  const graph = (name: string): Promise<Uint8Array> =>
    readFile(join(packageRoot, 'models', 'testing', 'graphs', `${name}.onnx`));
  const numbers = (names: readonly string[]): Pick<Toy, 'fields' | 'features' | 'inputs'> => ({
    fields: names.map((name) => ({ name, type: 'double' })),
    features: `[${names.map((name) => `event.${name}`).join(', ')}]`,
    inputs: names.map((name) => ({ name, dtype: 'float32' })),
  });
  const iris = {
    ...numbers(measures),
    output: { name: 'species', dtype: 'float32', classes },
    golden: { features: [5.1, 3.5, 1.4, 0.2], prediction: 0.981657 },
  };
  const three = {
    ...numbers(['a', 'b', 'c']),
    onnx: severalOutputs(),
    runtime: { input_tensor: 'x', output_tensor: 'risk' },
    output: {
      name: 'risk',
      dtype: 'float32',
      decision: { threshold: 0.5, below: 'low', at_or_above: 'high' },
    },
    golden: { features: [0, 0, 0], prediction: 0.5 },
  };
  return {
    'iris-zipmap': {
      ...iris,
      onnx: await graph('iris-zipmap'),
      runtime: { input_tensor: 'X', output_tensor: 'output_probability', label_tensor: 'output_label' },
    },
    'iris-columns': {
      ...iris,
      onnx: await graph('iris-columns'),
      runtime: { input_tensor: 'X', output_tensor: 'probabilities' },
    },
    window: {
      fields: [{ name: 'readings', type: { type: 'array', items: 'double' }, minItems: 6, maxItems: 6 }],
      features: '[event.readings]',
      inputs: [{ name: 'window', dtype: 'float32', shape: [1, 6] }],
      onnx: await graph('window'),
      runtime: { output_tensor: 'forecast' },
      output: { name: 'forecast', dtype: 'float32' },
      golden: { features: [[0, 0, 0, 0, 0, 3]], prediction: 3 },
    },
    several: {
      ...three,
      outputs: [
        { name: 'embedding', dtype: 'float32' },
        { name: 'grid', dtype: 'float32' },
        { name: 'whole', dtype: 'int64' },
        { name: 'positive', dtype: 'bool' },
        { name: 'label', tensor: 'word', dtype: 'string' },
        { name: 'score', tensor: 'shares', dtype: 'float32', classes: ['x', 'y', 'z'] },
      ],
    },
    binary: three,
    worded: {
      ...three,
      runtime: { ...three.runtime, label_tensor: 'word' },
      output: { name: 'risk', dtype: 'float32', scale: 'probability' },
    },
    order: {
      ...three,
      fields: orderFields,
      features: '[event.customer.age / 10, event.amounts.length, event.tags.red ?? 0]',
    },
  };
}

async function writeToy(folder: string, name: string, toy: Toy): Promise<void> {
  const { fields, features, onnx, runtime, inputs, output, outputs, golden } = toy;
  const write = async (path: string, content: string | Uint8Array | object): Promise<void> => {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    const isRaw = typeof content === 'string' || content instanceof Uint8Array;
    await writeFile(file, isRaw ? content : JSON.stringify(content));
  };
  await write(`schemas/${name}/event.v1.avsc`, { type: 'record', name: name.replace('-', '_'), fields });
  const pipeline = `{ name: '${name}', features: (event) => ${features} }`;
  await write(`processors/pipelines/${name}/pipeline.js`, `export const pipeline = ${pipeline};\n`);
  const version = `models/${name}/1`;
  await write(`${version}/model.onnx`, onnx);
  await write(`${version}/golden.json`, { rows: [golden] });
  await write(`${version}/model.json`, {
    name,
    version: '1',
    digest: createHash('sha256').update(onnx).digest('hex'),
    license: 'Apache-2.0',
    description: 'A toy.',
    runtime: { format: 'onnx', opsets: { 'ai.onnx': 17 }, ...runtime },
    inputs,
    output,
    ...(outputs === undefined ? {} : { outputs }),
    metrics: {},
    model_card: { intended_use: 'Tests.', limits: ['Predicts nothing.'] },
  });
}

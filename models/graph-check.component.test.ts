import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createModelRuntime, type ModelRuntime } from './runtime.js';
import { classifier, summing } from './testing/kind-graphs.js';
import { elementTypes, node, sequenceInfo, valueInfo } from './testing/onnx-graph.js';
import { toyModel, type VersionParts, writeVersion } from './testing/write-version.js';

const { float32 } = elementTypes;

let runtime: ModelRuntime;
let folder: string;

beforeEach(async () => {
  runtime = createModelRuntime();
  folder = await mkdtemp(join(tmpdir(), 'millrace-refused-'));
});

afterEach(async () => {
  await runtime.close();
  await rm(folder, { recursive: true });
});

describe('a graph that does not fit its model.json is refused', () => {
  const x = { name: 'x', dtype: 'float32' as const };
  const golden = { rows: [{ features: [1, 2], prediction: 3 }] };
  const two: VersionParts = { inputs: [{ name: 'a', dtype: 'float32' }, { name: 'b', dtype: 'float32' }], runtime: { input_tensor: 'x' }, golden }; // prettier-ignore
  const one: VersionParts = { inputs: [x], golden: { rows: [{ features: [1], prediction: 1 }] } };
  const plain = (dims: (number | string)[], output = valueInfo('y', float32, dims)) =>
    toyModel([node('Identity', ['x'], 'y')], [valueInfo('x', float32, dims)], [output]);
  const both = toyModel(
    [node('Add', ['x', 'z'], 'y')],
    ['x', 'z'].map((name) => valueInfo(name, float32, ['batch'])),
    [valueInfo('y', float32, ['batch'])],
  );
  const withRuntime = (more: NonNullable<VersionParts['runtime']>): VersionParts => ({
    ...two,
    runtime: { ...two.runtime, ...more },
  });
  const cases: [string, Uint8Array, VersionParts, RegExp][] = [
    [
      'another number of features',
      plain(['batch', 5]),
      two,
      /its input x \(float32 \[batch, 5\]\) takes 5 features, but model\.json has 2 columns in 2 inputs/,
    ],
    [
      'another type',
      plain(['batch', 2]),
      { ...two, runtime: { input_tensor: 'x', input_dtype: 'float64' } },
      /is not float64, as model\.json says\. Set input_dtype.* to float32/,
    ],
    [
      'an input that nothing fills',
      both,
      one,
      /no input in model\.json fills its input z \(float32 \[batch\]\)/,
    ],
    [
      'no such input',
      plain(['batch', 2]),
      withRuntime({ input_tensor: 'rows' }),
      /it has no input rows; its inputs are x \(float32 \[batch, 2\]\)/,
    ],
    [
      'no such output',
      plain(['batch', 2]),
      withRuntime({ output_tensor: 'score' }),
      /it has no output score; its outputs are y/,
    ],
    [
      'a fixed batch',
      plain([1, 2]),
      two,
      /takes exactly 1 row per call\. Export it with a dynamic first dimension/,
    ],
    ['more dimensions than columns', plain(['batch', 1, 2]), two, /is no matrix/],
    [
      'more than one number',
      plain(['batch', 24]),
      one,
      /takes more than the single number of model\.json\. Give this input "shape": \[24\], or list 24 inputs/,
    ],
    [
      'a dynamic inner dimension',
      plain(['batch', 'seconds', 2]),
      one,
      /Give this input "shape": \[<size of seconds>, 2\], with the size/,
    ],
    [
      'another shape',
      plain(['batch', 1, 6]),
      { ...one, inputs: [{ ...x, shape: [6] }] },
      /does not take the shape \[6\] of model\.json\. Set "shape" to \[1, 6\]/,
    ],
    [
      'text as score',
      summing('string', 2),
      {
        ...two,
        inputs: two.inputs.map(({ name }) => ({ name, dtype: 'string' as const })),
        runtime: { input_tensor: 'x', output_tensor: 'same' },
      },
      /its output same \(string \[batch, 2\]\) is text, but the main output gives the score/,
    ],
    [
      'a list as output',
      toyModel(
        [node('SplitToSequence', ['x'], 'y')],
        [valueInfo('x', float32, ['batch', 2])],
        [sequenceInfo('y')],
      ),
      two,
      /its output y is a sequence or a map that no ZipMap makes\. Export the graph with a tensor/,
    ],
    [
      'another number of classes',
      plain(['batch', 2]),
      { ...two, output: { classes: ['a', 'b', 'c'] } },
      /has 2 columns, but model\.json names 3 classes: a, b, c/,
    ],
    [
      'other classes than those of its ZipMap',
      classifier,
      {
        ...two,
        inputs: ['a', 'b', 'c'].map((name) => ({ name, dtype: 'float32' as const })),
        runtime: { input_tensor: 'x', output_tensor: 'zipped' },
        output: { classes: ['a', 'c', 'b'] },
      },
      /has the classes a, b, c, but model\.json names a, c, b/,
    ],
    [
      'no such column',
      plain(['batch', 2]),
      withRuntime({ output_column: 2 }),
      /has no column 2\. Set output_column to a number below 2/,
    ],
    [
      'whole numbers as floats',
      summing('int32', 2),
      {
        ...two,
        inputs: two.inputs.map(({ name }) => ({ name, dtype: 'int32' as const })),
        outputs: [{ name: 'same', dtype: 'float32' }],
      },
      /its output same \(int32 \[batch, 2\]\) is not float32/,
    ],
    [
      'several labels',
      plain(['batch', 2]),
      withRuntime({ label_tensor: 'y' }),
      /more than one label for each row/,
    ],
  ];

  it.each(cases)('%s', async (_what, onnx, parts, message) => {
    const width = parts.inputs.length;
    const fitting = parts.golden.rows[0]?.features.length === width;
    const rows = fitting ? parts.golden.rows : [{ features: parts.inputs.map(() => 0), prediction: 0 }];
    const refused = runtime.load(await writeVersion(folder, onnx, { ...parts, golden: { rows } }));
    await expect(refused).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(message) as unknown,
    });
    await expect(refused).rejects.not.toMatchObject({
      message: expect.stringMatching(/trained model/) as unknown,
    });
  });
});

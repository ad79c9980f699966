import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { encoderOf, type Feature } from './input-encoder.js';
import type { RowResult } from './micro-batcher.js';
import { createModelRuntime, type ModelRuntime } from './runtime.js';
import { testingModels } from './testing/copy-model.js';
import { classifier, summing } from './testing/kind-graphs.js';
import { elementTypes, int64s, node, tensor, valueInfo } from './testing/onnx-graph.js';
import { toyModel, type VersionParts, writeVersion } from './testing/write-version.js';

const { float32, int64, string } = elementTypes;

let runtime: ModelRuntime;
let folder: string;

beforeEach(async () => {
  runtime = createModelRuntime();
  folder = await mkdtemp(join(tmpdir(), 'millrace-kinds-'));
});

afterEach(async () => {
  await runtime.close();
  await rm(folder, { recursive: true });
});

/** Loads a version, and scores events, of which each is the features. */
async function score(onnx: Uint8Array, parts: VersionParts, ...events: Feature[][]): Promise<RowResult[]> {
  const model = await runtime.load(await writeVersion(folder, onnx, parts));
  const rows = events.map((features) => {
    const row = encoderOf(model.manifest).encode(features);
    if (row instanceof MillraceError) throw row;
    return row;
  });
  return model.predict(rows);
}

describe('inputs', () => {
  it.each([
    ['float32', [1.5, -2], -0.5],
    ['float64', [0.1, 0.2], 0.3],
    ['float16', [0.5, 2048], 2048.5],
    ['int64', [-(2 ** 40), 1], -(2 ** 40)],
    ['int32', [-5, 2 ** 20], 2 ** 20 - 5],
    ['int16', [-32_768, 7], -32_761],
    ['int8', [-128, 127], -1],
    ['uint8', [255, 255], 510],
    ['uint16', [65_535, 0], 65_535],
    ['uint32', [2 ** 31, 1], 2 ** 31],
    ['uint64', [2 ** 40, 1], 2 ** 40],
    ['bool', [true, false], 1],
    ['string', ['1', '2.5'], 3.5],
  ] as const)('are %s: columns of a matrix', async (dtype, features, sum) => {
    const inputs = ['a', 'b'].map((name) => ({ name, dtype }));
    const outputs = [{ name: 'same', dtype }];
    const golden = { rows: [{ features: [...features], prediction: sum, outputs: { same: [...features] } }] };
    const runtimeOf = { input_tensor: 'x' };
    const parts = { inputs, outputs, runtime: runtimeOf, golden };
    const [answer, back] = await score(summing(dtype, 2), parts, [...features], [...features].toReversed());
    expect(answer).toEqual({
      score: expect.closeTo(sum, 6) as unknown,
      label: null,
      outputs: { y: expect.closeTo(sum, 6) as unknown, same: [...features] },
    });
    expect(back).toMatchObject({ outputs: { same: [...features].toReversed() } });
  });

  it('reach a float64 graph with 64 bits', async () => {
    const inputs = [{ name: 'x', dtype: 'float64' as const }];
    const outputs = [{ name: 'same', dtype: 'float64' as const }];
    const golden = { rows: [{ features: [0.1], prediction: 0.1 }] };
    const [answer] = await score(summing('float64', 1), { inputs, outputs, golden }, [0.1]);
    expect(answer).toMatchObject({ outputs: { same: 0.1 } });
  });

  it('are a tensor each, with a type each', async () => {
    const kinds = { a: 'float32', b: 'string', c: 'int64', d: 'bool' } as const;
    const names = Object.keys(kinds) as (keyof typeof kinds)[];
    const dims = { a: ['batch', 1], b: ['batch', 1], c: ['batch'], d: ['batch', 1] };
    const onnx = toyModel(
      [
        ...names.flatMap((name) => [
          node('Cast', [name], `${name}_float`, { to: { int: float32 } }),
          node('Reshape', [`${name}_float`, 'flat'], `${name}_flat`),
        ]),
        node(
          'Sum',
          names.map((name) => `${name}_flat`),
          'y',
        ),
      ],
      names.map((name) => valueInfo(name, elementTypes[kinds[name]], dims[name])),
      [valueInfo('y', float32, ['batch'])],
      [tensor(int64, [1], int64s(-1), 'flat')],
    );
    const inputs = [
      ...names.slice(1).map((name) => ({ name, dtype: kinds[name] })),
      { name: 'first', tensor: 'a', dtype: kinds.a },
    ];
    const golden = { rows: [{ features: ['10', 100, true, 1000], prediction: 1111 }] };
    const answers = await score(onnx, { inputs, golden }, ['10', 100, false, 0.5], ['0', 0, true, 0]);
    expect(answers).toMatchObject([{ score: 110.5 }, { score: 1 }]);
  });

  it('have a shape, alone or beside other columns', async () => {
    const window = { name: 'window', dtype: 'float32' as const, tensor: 'x', shape: [1, 3] };
    const outputs = [{ name: 'same', dtype: 'float32' as const }];
    const golden = { rows: [{ features: [[[1, 2, 3]]], prediction: 6 }] };
    expect(
      await score(
        summing('float32', 1, 3),
        { inputs: [window], outputs, golden },
        [[4, 5, 6]],
        [[[7, 8, 9]]],
      ),
    ).toEqual([
      { score: 15, label: null, outputs: { y: 15, same: [[4, 5, 6]] } },
      { score: 24, label: null, outputs: { y: 24, same: [[7, 8, 9]] } },
    ]);
    const columns = [{ name: 'a', dtype: 'int32' as const }, { name: 'b', dtype: 'int32' as const, shape: [2] }]; // prettier-ignore
    await rm(join(folder, 'toy'), { recursive: true });
    const [answer] = await score(
      summing('int32', 3),
      {
        inputs: columns,
        runtime: { input_tensor: 'x' },
        outputs: [{ name: 'same', dtype: 'int32' }],
        golden: { rows: [{ features: [1, [2, 3]], prediction: 6 }] },
      },
      [7, [8, 9]],
    );
    expect(answer).toMatchObject({ score: 24, outputs: { same: [7, 8, 9] } });
  });

  it('may miss: a value in place, or NaN for the graph', async () => {
    const onnx = toyModel(
      [
        node('IsNaN', ['x'], 'missing'),
        node('Cast', ['missing'], 'ones', { to: { int: float32 } }),
        node('ReduceSum', ['ones', 'columns'], 'y', { keepdims: { int: 0 } }),
      ],
      [valueInfo('x', float32, ['batch', 3])],
      [valueInfo('y', float32, ['batch'])],
      [tensor(int64, [1], int64s(1), 'columns')],
    );
    const inputs = [
      { name: 'a', dtype: 'float32' as const, missing: 'nan' },
      { name: 'b', dtype: 'float32' as const, shape: [2], missing: 'nan' },
    ];
    const golden = { rows: [{ features: [null, [1, null]], prediction: 2 }] };
    const answers = await score(
      onnx,
      { inputs, runtime: { input_tensor: 'x' }, golden },
      [null, null],
      [1, [null, 2]],
      [Number.NaN, [1, 2]],
    );
    expect(answers).toMatchObject([{ score: 3 }, { score: 1 }, { score: 1 }]);
  });
});

const probabilities = (a: number, b: number, c: number) => ({ a, b, c });
const three = ['x0', 'x1', 'x2'].map((name) => ({ name, dtype: 'float32' as const }));

describe('outputs', () => {
  it('are classes of a ZipMap, with the probability of the largest as score', async () => {
    const parts = {
      inputs: three,
      runtime: { input_tensor: 'x', output_tensor: 'zipped' },
      output: { name: 'kind', classes: ['a', 'b', 'c'] },
      golden: {
        rows: [
          {
            features: [0.25, 0.5, 0.25],
            prediction: 0.5,
            label: 'b',
            outputs: { kind: probabilities(0.25, 0.5, 0.25) },
          },
        ],
      },
    };
    expect(await score(classifier, parts, [0.75, 0, 0.25], [0.25, 0.25, 0.5])).toEqual([
      { score: 0.75, label: 'a', outputs: { kind: probabilities(0.75, 0, 0.25) } },
      { score: 0.5, label: 'c', outputs: { kind: probabilities(0.25, 0.25, 0.5) } },
    ]);
  });

  it('have the label that the graph decides', async () => {
    const parts = {
      inputs: three,
      runtime: { input_tensor: 'x', output_tensor: 'p', label_tensor: 'labels' },
      output: { name: 'kind', classes: ['2', '1', '0'] },
      golden: { rows: [{ features: [0.5, 0.125, 0.375], prediction: 0.375, label: '0' }] },
    };
    const onnx = toyModel(
      [
        node('Identity', ['x'], 'p'),
        node('ArgMax', ['p'], 'labels', { axis: { int: 1 }, keepdims: { int: 0 } }),
      ],
      [valueInfo('x', float32, ['batch', 3])],
      [valueInfo('labels', int64, ['batch']), valueInfo('p', float32, ['batch', 3])],
    );
    expect(await score(onnx, parts, [0.75, 0, 0.25])).toEqual([
      { score: 0.25, label: '0', outputs: { kind: { '2': 0.75, '1': 0, '0': 0.25 } } },
    ]);
    await rm(join(folder, 'toy'), { recursive: true });
    const others = { ...parts, output: { name: 'kind', classes: ['0', '1', 'two'] } };
    const golden = { rows: [{ features: [0.5, 0.125, 0.375], prediction: 0.5 }] };
    expect(await score(onnx, { ...others, golden }, [0, 0.25, 0.75], [1, 0, 0])).toMatchObject([
      {
        code: 'OUTPUT_INVALID',
        message: "The model's label is '2', which is not one of its classes: 0, 1, two.",
      },
      { score: 1, label: '0' },
    ]);
  });

  it('are a number with a label, a vector, and others beside it', async () => {
    const onnx = toyModel(
      [
        node('Identity', ['x'], 'y'),
        node('Cast', ['x'], 'texts', { to: { int: string } }),
        node('Cast', ['x'], 'flags', { to: { int: elementTypes.bool } }),
        node('ArgMax', ['x'], 'best', { axis: { int: 1 } }),
      ],
      [valueInfo('x', float32, ['batch', 3])],
      [
        valueInfo('y', float32, ['batch', 3]),
        valueInfo('texts', string, ['batch', 3]),
        valueInfo('flags', elementTypes.bool, ['batch', 3]),
        valueInfo('best', int64, ['batch', 1]),
      ],
    );
    const parts: VersionParts = {
      inputs: three,
      runtime: { input_tensor: 'x', label_tensor: 'best' },
      output: { name: 'vector' },
      outputs: [
        { name: 'texts', dtype: 'string' },
        { name: 'on', tensor: 'flags', dtype: 'bool', classes: ['a', 'b', 'c'] },
        { name: 'best', dtype: 'int64' },
      ],
      golden: { rows: [{ features: [1, 2, 0], prediction: 1, outputs: { vector: [1, 2, 0], best: 1 } }] },
    };
    parts.runtime = { ...parts.runtime, output_tensor: 'y' };
    expect(await score(onnx, parts, [3, 0, 5])).toEqual([
      {
        score: 3,
        label: '2',
        outputs: { vector: [3, 0, 5], texts: ['3', '0', '5'], on: { a: 1, b: 0, c: 1 }, best: 2 },
      },
    ]);
  });

  it('are refused for a row with a number that JSON cannot hold', async () => {
    const parts = {
      inputs: [{ name: 'x', dtype: 'int64' as const }],
      outputs: [{ name: 'big', dtype: 'int64' as const }],
      golden: { rows: [{ features: [1], prediction: 1 }] },
    };
    const onnx = toyModel(
      [node('Cast', ['x'], 'y', { to: { int: float32 } }), node('Mul', ['x', 'factor'], 'big')],
      [valueInfo('x', int64, ['batch'])],
      [valueInfo('y', float32, ['batch']), valueInfo('big', int64, ['batch'])],
      [tensor(int64, [1], int64s(2 ** 20), 'factor')],
    );
    expect(await score(onnx, parts, [2 ** 33], [3])).toMatchObject([
      {
        code: 'OUTPUT_INVALID',
        message: expect.stringContaining('big is 9007199254740992, which is beyond') as unknown,
      },
      { score: 3, outputs: { big: 3 * 2 ** 20 } },
    ]);
  });
});

describe('what converters export', () => {
  const exported = (name: string) => readFileSync(join(testingModels, 'graphs', `${name}.onnx`));

  it.each(['iris-zipmap', 'iris-columns'])('is served: %s', async (name) => {
    const zipped = name === 'iris-zipmap';
    const parts = {
      inputs: ['a', 'b', 'c', 'd'].map((each) => ({ name: each, dtype: 'float32' as const })),
      runtime: {
        input_tensor: 'X',
        output_tensor: zipped ? 'output_probability' : 'probabilities',
        label_tensor: zipped ? 'output_label' : 'label',
      },
      output: { name: 'species', classes: ['setosa', 'versicolor', 'virginica'] },
      golden: {
        tolerance: 0.01,
        rows: [{ features: [5.1, 3.5, 1.4, 0.2], prediction: 0.98, label: 'setosa' }],
      },
    };
    expect(await score(exported(name), parts, [6.3, 3.3, 6, 2.5])).toMatchObject([{ label: 'virginica' }]);
  });
});

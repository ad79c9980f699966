import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Golden } from './manifest.js';
import { createModelRuntime, type LoadedModel, type ModelRuntime } from './runtime.js';
import { classifier, summing } from './testing/kind-graphs.js';
import { elementTypes, node, tensor, valueInfo } from './testing/onnx-graph.js';
import { toyModel, type VersionParts, writeVersion } from './testing/write-version.js';

const { float32, int64 } = elementTypes;

let runtime: ModelRuntime;
let folder: string;

beforeEach(async () => {
  runtime = createModelRuntime();
  folder = await mkdtemp(join(tmpdir(), 'millrace-golden-'));
});

afterEach(async () => {
  await runtime.close();
  await rm(folder, { recursive: true });
});

const inputs = ['a', 'b'].map((name) => ({ name, dtype: 'float32' as const }));
const sum: VersionParts = { inputs, runtime: { input_tensor: 'x' }, golden: { rows: [] } };
const decision = { threshold: 0.5, below: 'no', at_or_above: 'yes' };

async function load(onnx: Uint8Array, parts: VersionParts, golden: Golden): Promise<LoadedModel> {
  return runtime.load(await writeVersion(folder, onnx, { ...parts, golden }));
}

const refusal = (message: RegExp) => ({
  code: 'MODEL_REFUSED',
  message: expect.stringMatching(message) as unknown,
});

describe('golden rows', () => {
  const wrong: [string, Partial<VersionParts>, Golden, RegExp][] = [
    [
      'another number',
      {},
      { rows: [{ features: [1, 2], prediction: 4 }] },
      /row 0 alone returns 3, expected 4 within 0\.00004\. The graph differs from the trained model/,
    ],
    [
      'another number than the graph gave before',
      {},
      { independent: false, rows: [{ features: [1, 2], prediction: 4 }] },
      /golden\.json has what the graph itself returned before/,
    ],
    [
      'another label',
      { output: { decision } },
      { rows: [{ features: [0.5, 0.25], prediction: 0.75, label: 'no' }] },
      /row 0 alone has the label yes, expected no/,
    ],
    [
      'another output',
      { outputs: [{ name: 'same', dtype: 'float32' }] },
      { rows: [{ features: [1, 2], prediction: 3, outputs: { same: [1, 2.1] } }] },
      /row 0 alone returns same \[1,2\], expected \[1,2\.1\]/,
    ],
    [
      'an output that there is not',
      {},
      { rows: [{ features: [1, 2], prediction: 3, outputs: { other: 1 } }] },
      /returns other nothing, expected 1/,
    ],
    [
      'a missing value that the input does not take',
      {},
      { rows: [{ features: [1, null], prediction: 1 }] },
      /golden row 0: Feature b is null: a missing value.*Correct golden\.json, or the input in model\.json/,
    ],
    [
      'a value of another type',
      {},
      { rows: [{ features: [1, 'two'], prediction: 3 }] },
      /golden row 0: Feature b is 'two'; its model takes a number/,
    ],
  ];

  it.each(wrong)('with %s refuse the version', async (_what, parts, golden, message) => {
    await expect(load(summing('float32', 2), { ...sum, ...parts }, golden)).rejects.toMatchObject(
      refusal(message),
    );
  });

  it('are compared with the tolerance that they say', async () => {
    const rows = [{ features: [100, 2], prediction: 102.5 }];
    await expect(load(summing('float32', 2), sum, { rows })).rejects.toMatchObject(
      refusal(/expected 102\.5/),
    );
    expect((await load(summing('float32', 2), sum, { rows, tolerance: 0.01 })).manifest.name).toBe('toy');
  });

  it('of a float16 graph are compared as exactly as it computes', async () => {
    const halves = { ...sum, inputs: inputs.map((each) => ({ ...each, dtype: 'float16' as const })) };
    const golden = { rows: [{ features: [0.1, 0.2], prediction: 0.3 }] };
    expect((await load(summing('float16', 2), halves, golden)).manifest.name).toBe('toy');
  });
});

describe('nonsense is refused without a sample of events', () => {
  it('as the score of a golden row', async () => {
    const golden = { rows: [{ features: [990, 7], prediction: 997 }] };
    const classified = { ...sum, output: { decision } };
    await expect(load(summing('float32', 2), classified, golden)).rejects.toMatchObject(
      refusal(/golden row 0 alone gets the score 997, but y is a probability.*set "scale"/),
    );
    const scaled = { ...sum, output: { decision, scale: 'number' as const } };
    expect((await load(summing('float32', 2), scaled, golden)).manifest.name).toBe('toy');
  });

  it('as probabilities of classes', async () => {
    const parts: VersionParts = {
      inputs: [...inputs, { name: 'c', dtype: 'float32' }],
      runtime: { input_tensor: 'x', output_tensor: 'zipped' },
      output: { classes: ['a', 'b', 'c'] },
      golden: { rows: [] },
    };
    const golden = { rows: [{ features: [0.75, 0.5, 0.25], prediction: 0.75 }] };
    await expect(load(classifier, parts, golden)).rejects.toMatchObject(
      refusal(/add up to 1\.5 instead of 1/),
    );
  });

  it('as the score of a row with values from several golden rows', async () => {
    const golden = {
      rows: [
        { features: [0.5, 0], prediction: 0.5 },
        { features: [0, 0.75], prediction: 0.75 },
      ],
    };
    const scaled = (scale: 'number' | 'probability') => ({ ...sum, output: { scale } });
    await expect(load(summing('float32', 2), scaled('probability'), golden)).rejects.toMatchObject(
      refusal(/a row of values from golden rows, \[0\.5,0\.75\], gets the score 1\.25/),
    );
    expect((await load(summing('float32', 2), scaled('number'), golden)).manifest.name).toBe('toy');
  });

  /** `y` is `of` the difference of the two columns of `x`. */
  const ofDifference = (nodes: readonly Uint8Array[], constants: readonly Uint8Array[] = []) =>
    toyModel(
      [
        node('Split', ['x'], ['a', 'b'], { axis: { int: 1 } }),
        node('Sub', ['a', 'b'], 'difference'),
        ...nodes,
      ],
      [valueInfo('x', float32, ['batch', 2])],
      [valueInfo('y', float32, ['batch', 1])],
      constants,
    );

  const logarithm = ofDifference([node('Log', ['difference'], 'y')]);

  it('as no number at all', async () => {
    const golden = { rows: [{ features: [2, 2], prediction: 0 }] };
    await expect(load(logarithm, sum, golden)).rejects.toMatchObject(
      refusal(/golden row 0 alone has no score: .* -Infinity.* Each output has to be a finite number/),
    );
  });

  it('but not a version without a number for a row of values which may be impossible together', async () => {
    const golden = {
      rows: [
        { features: [2, 1], prediction: 0 },
        { features: [3, 2], prediction: 0 },
      ],
    };
    const model = await load(logarithm, sum, golden);
    expect(await model.predict([[2, 3]])).toEqual([expect.objectContaining({ code: 'OUTPUT_INVALID' })]);
  });

  it('but not a version that fails on a row of values which may be impossible together', async () => {
    const table = tensor(float32, [4], Buffer.from(Float32Array.of(0, 1, 2, 3).buffer), 'table');
    const nodes = [
      node('Cast', ['difference'], 'index', { to: { int: int64 } }),
      node('Gather', ['table', 'index'], 'y'),
    ];
    const golden = {
      rows: [
        { features: [3, 1], prediction: 2 },
        { features: [9, 8], prediction: 1 },
      ],
    };
    const model = await load(ofDifference(nodes, [table]), sum, golden);
    await expect(model.predict([[9, 1]])).rejects.toMatchObject({ code: 'MODEL_FAILED' });
  });
});

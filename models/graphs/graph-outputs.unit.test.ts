import { expect, it } from 'vitest';
import { toFloat16 } from '../float16.js';
import type { OutputTensor } from '../outputs.js';
import { type OutputChoice, type OutputPlan, planOutputs } from './graph-outputs.js';
import type { Graph } from './read-graph.js';
import { seenOutputs } from './score-rows.js';

/** Plans the outputs of a classifier with the given labels and scores in a row of its own each. */
function plan(
  label: Pick<OutputTensor, 'dtype' | 'data'>,
  scores: Pick<OutputTensor, 'dtype'> & { rows: OutputTensor['data'][] },
  choice: OutputChoice = {},
): OutputPlan {
  const width = scores.rows[0]?.length ?? 0;
  const graph: Graph = {
    onnx: new Uint8Array(),
    opsets: {},
    inputs: [],
    outputs: [
      { name: 'label', dtype: label.dtype, shape: ['batch'] },
      { name: 'scores', dtype: scores.dtype, shape: ['batch', width] },
    ],
    zipMaps: new Map(),
    classLabels: [],
  };
  const tensors = scores.rows.map(
    (data, row) =>
      new Map<string, OutputTensor>([
        ['label', { dtype: label.dtype, dims: [1], data: label.data.slice(row, row + 1) }],
        ['scores', { dtype: scores.dtype, dims: [1, width], data }],
      ]),
  );
  return planOutputs(graph, seenOutputs({ tensors, problems: new Map() }), choice);
}

const labels = { dtype: 'int64', data: BigInt64Array.of(0n, 2n) };
const shares = { dtype: 'float32', rows: [Float32Array.of(0.5, 0.25, 0.25), Float32Array.of(0, 0.25, 0.75)] };

it('leaves the labels of the graph out if other names are given for the classes, and says so', () => {
  const names = ['setosa', 'versicolor', 'virginica'];
  const { runtime, output, outputs, notes } = plan(labels, shares, { classes: names });
  expect(runtime).toEqual({ output_tensor: 'scores' });
  expect(output.classes).toEqual(names);
  expect(outputs).toBeUndefined();
  expect(notes).toEqual([
    "The labels of label in the graph, such as '0', are not the given classes: the label is the class with the largest number.",
  ]);
});

it('keeps the labels of the graph that are among the given classes', () => {
  const { runtime, notes } = plan(labels, shares, { classes: ['0', '1', '2'] });
  expect(runtime.label_tensor).toBe('label');
  expect(notes).toEqual([]);
});

it('does not take 16-bit decision values for probabilities', () => {
  const halves = (...numbers: number[]) => Uint16Array.from(numbers, toFloat16);
  const logits = plan(labels, { dtype: 'float16', rows: [halves(3, -1, 0.5), halves(-2, 0, 4)] });
  expect(logits.output).toMatchObject({ classes: ['0', '1', '2'], scale: 'number' });
  const probabilities = plan(labels, { dtype: 'float16', rows: [halves(0.5, 0.25, 0.25), halves(0, 0, 1)] });
  expect(probabilities.output).not.toHaveProperty('scale');
});

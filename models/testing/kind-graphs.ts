import type { Dtype } from '../tensors.js';
import { elementTypes, int64s, mapInfo, node, tensor, valueInfo } from './onnx-graph.js';
import { toyModel } from './write-version.js';

const { float32, int64 } = elementTypes;

/** `y` is the sum of a row of `x`, and `same` is `x`. */
export function summing(dtype: Dtype, ...inner: number[]): Uint8Array {
  const type = elementTypes[dtype];
  return toyModel(
    [
      node('Cast', ['x'], 'floats', { to: { int: float32 } }),
      node('Flatten', ['floats'], 'flat', { axis: { int: 1 } }),
      node('ReduceSum', ['flat', 'columns'], 'y', { keepdims: { int: 0 } }),
      node('Identity', ['x'], 'same'),
    ],
    [valueInfo('x', type, ['batch', ...inner])],
    [valueInfo('y', float32, ['batch']), valueInfo('same', type, ['batch', ...inner])],
    [tensor(int64, [1], int64s(1), 'columns')],
  );
}

/** `p` is `x`; `labels` is its largest column; `zipped` is `p` by class, as converters make it. */
export const classifier = toyModel(
  [
    node('Identity', ['x'], 'p'),
    node('ArgMax', ['p'], 'labels', { axis: { int: 1 }, keepdims: { int: 0 } }),
    node('ai.onnx.ml:ZipMap', ['p'], 'zipped', { classlabels_strings: { strings: ['a', 'b', 'c'] } }),
  ],
  [valueInfo('x', float32, ['batch', 3])],
  [valueInfo('labels', int64, ['batch']), mapInfo('zipped')],
);

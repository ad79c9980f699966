import {
  bool,
  float,
  graph,
  int64,
  int64s,
  message,
  modelOf,
  node,
  tensor,
  valueInfo,
} from './onnx-graph.js';

const text = 8;

/**
 * A graph of three numbers `x` with outputs of many kinds: `risk` (the sigmoid of their sum), `shares` (their
 * softmax), `embedding` (their doubles), `grid` (they as [1, 3]), `whole` (their sum without a fraction),
 * `positive` (whether that is not zero) and `word` (`no` or `yes`, the same).
 */
export function severalOutputs(): Uint8Array {
  const words = message([[1, 2], [2, text], [6, 'no'], [6, 'yes'], [8, 'words']]); // prettier-ignore
  return modelOf(
    graph(
      [
        node('ReduceSum', ['x', 'axis'], 'sum', { keepdims: { int: 0 } }),
        node('Sigmoid', ['sum'], 'risk'),
        node('Softmax', ['x'], 'shares'),
        node('Add', ['x', 'x'], 'embedding'),
        node('Unsqueeze', ['x', 'axis'], 'grid'),
        node('Cast', ['sum'], 'whole', { to: { int: int64 } }),
        node('Cast', ['whole'], 'positive', { to: { int: bool } }),
        node('Cast', ['positive'], 'index', { to: { int: int64 } }),
        node('Gather', ['words', 'index'], 'word'),
      ],
      [valueInfo('x', float, ['batch', 3])],
      [
        valueInfo('risk', float, ['batch']),
        valueInfo('shares', float, ['batch', 3]),
        valueInfo('embedding', float, ['batch', 3]),
        valueInfo('grid', float, ['batch', 1, 3]),
        valueInfo('whole', int64, ['batch']),
        valueInfo('positive', bool, ['batch']),
        valueInfo('word', text, ['batch']),
      ],
      [tensor(int64, [1], int64s(1), 'axis'), words],
    ),
  );
}

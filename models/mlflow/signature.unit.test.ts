import { expect, it } from 'vitest';
import { readSignature } from './signature.js';

// As MLflow 3.17 writes it.
const file = (signature: string): string => `flavors:
  onnx:
    data: model.onnx
mlflow_version: 3.17.2
${signature}utc_time_created: '2026-11-21 05:37:09.753945'
`;

it('reads columns that are folded over lines', () => {
  const text = file(`signature:
  inputs: '[{"type": "double", "name": "LIMIT_BAL", "required": true}, {"type": "long",
    "name": "driver''s age", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1,
    2]}}]'
  params: null
`);
  expect(readSignature(text)).toEqual({
    columns: [
      { name: 'LIMIT_BAL', type: 'double' },
      { name: "driver's age", type: 'long' },
    ],
  });
});

it('reads a flow mapping over several lines', () => {
  const text = file(`signature: {
  inputs: '[{"type": "double", "name": "LIMIT_BAL"}]', # JSON
  outputs: null,
  params: null
}
`);
  expect(readSignature(text)).toEqual({ columns: [{ name: 'LIMIT_BAL', type: 'double' }] });
});

it('reads inputs that are YAML instead of JSON', () => {
  const text = file(
    'signature:\n  inputs:\n    - {name: LIMIT_BAL,\n       type: double}\n    - name: age\n      type: long\n',
  );
  expect(readSignature(text)).toEqual({
    columns: [
      { name: 'LIMIT_BAL', type: 'double' },
      { name: 'age', type: 'long' },
    ],
  });
});

it('reads the shape of a tensor', () => {
  const text = file(`signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 23]}}]'
  outputs: null
`);
  expect(readSignature(text)).toEqual({ shape: [-1, 23] });
});

it.each([
  ['none', ''],
  ['one of outputs only', 'signature:\n  inputs: null\n  outputs: null\n'],
])('finds %s', (_name, signature) => {
  expect(readSignature(file(signature))).toBeUndefined();
});

it.each([
  ['no YAML', "signature:\n  inputs: 'open\n"],
  ['no JSON', "signature:\n  inputs: '[{]'\n"],
  ['another shape', 'signature:\n  inputs: \'{"a": 1}\'\n'],
  ['a scalar without quotes', 'signature:\n  inputs: [1, 2]\n'],
  [
    'columns of tensors',
    'signature:\n  inputs: \'[{"name": "a", "type": "tensor"}, {"name": "b", "type": "tensor"}]\'\n',
  ],
])('refuses %s', (_name, signature) => {
  expect(() => readSignature(file(signature))).toThrow(
    expect.objectContaining({ code: 'MLFLOW_MODEL_UNFIT' }),
  );
});

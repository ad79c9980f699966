import { describe, expect, it } from 'vitest';
import { parseGolden, parseManifest } from './manifest.js';

const valid = {
  name: 'sum',
  version: '1',
  digest: '0'.repeat(64),
  license: 'Apache-2.0',
  description: 'Adds.',
  runtime: { format: 'onnx', opsets: { 'ai.onnx': 17 }, input_tensor: 'features', output_tensor: 'result' },
  inputs: [{ name: 'first', dtype: 'float32', meaning: 'any number' }],
  output: { name: 'result', dtype: 'float32', meaning: 'the sum' },
  metrics: {},
  model_card: { intended_use: 'Tests.', limits: [] },
};

const parse = (changes: object) =>
  parseManifest(JSON.stringify({ ...valid, ...changes }), 'sum/1/model.json');

describe('parseManifest', () => {
  it('accepts a manifest without training data', () => {
    expect(parse({})).toEqual(valid);
  });

  it('names the file and every invalid field', () => {
    const wrong = { digest: 'abc', inputs: [{ name: 'first', dtype: 'complex64', meaning: 'any number' }] };
    expect(() => parse(wrong)).toThrow(
      expect.objectContaining({
        code: 'MODEL_INVALID',
        message: expect.stringMatching(/sum\/1\/model\.json.*digest: .*inputs\.0\.dtype: /),
      }),
    );
  });

  it('rejects unknown fields, such as a misspelt one', () => {
    expect(() => parse({ licence: 'MIT' })).toThrow(/licence/);
  });

  it('accepts encodings of texts', () => {
    const fuel = {
      name: 'fuel',
      dtype: 'float32',
      meaning: 'fuel',
      encoding: { Diesel: 0, Petrol: 1 },
      unknown: 0,
    };
    expect(parse({ inputs: [fuel] }).inputs).toEqual([fuel]);
    expect(() => parse({ inputs: [{ ...fuel, encoding: { Diesel: 0, ' diesel': 1 } }] })).toThrow(
      /inputs\.0\.encoding: names a text twice/,
    );
    expect(() => parse({ inputs: [{ ...fuel, encoding: undefined }] })).toThrow(/inputs\.0\.unknown: needs/);
  });

  it('rejects duplicate input names', () => {
    expect(() => parse({ inputs: [...valid.inputs, ...valid.inputs] })).toThrow(
      /inputs: names an input twice/,
    );
  });

  it('accepts inputs and outputs of each kind', () => {
    const inputs = [
      { name: 'age', dtype: 'float32', missing: 'nan' },
      { name: 'city', dtype: 'string', tensor: 'City', missing: '' },
      { name: 'window', dtype: 'float16', tensor: 'w', shape: [1, 24] },
      { name: 'a', dtype: 'int64', tensor: 'codes', missing: -1 },
      { name: 'b', dtype: 'int64', tensor: 'codes', shape: [2] },
    ];
    const { input_tensor: _, ...runtime } = { ...valid.runtime, label_tensor: 'label' };
    const output = { name: 'probabilities', dtype: 'float32', classes: ['a', 'b', 'c'] };
    const outputs = [{ name: 'embedding', tensor: 'e', dtype: 'float32' }];
    expect(parse({ inputs, runtime, output, outputs })).toMatchObject({ inputs, runtime, output, outputs });
    const odd = [{ name: 'odd', dtype: 'float32', missing: 'nan', encoding: { NaN: 7 } }];
    expect(parse({ inputs: odd }).inputs).toEqual(odd);
  });

  const x = { name: 'x', dtype: 'float32' };
  const y = { name: 'y', dtype: 'float32' };
  const result = valid.output;
  const { input_tensor: _, ...ownTensors } = valid.runtime;
  const contradictions: [string, object, RegExp][] = [
    [
      'classes beside a decision',
      {
        output: {
          ...result,
          classes: ['a', 'b'],
          decision: { threshold: 0.5, below: 'a', at_or_above: 'b' },
        },
      },
      /output\.decision: and classes exclude each other/,
    ],
    [
      'a column beside classes',
      { output: { ...result, classes: ['a', 'b'] }, runtime: { ...valid.runtime, output_column: 1 } },
      /output_column: and classes exclude/,
    ],
    ['a class twice', { output: { ...result, classes: ['a', 'a'] } }, /output\.classes: names a class twice/],
    [
      'a text as score',
      { output: { ...result, dtype: 'string' } },
      /output\.dtype: is string, but the main output gives the score/,
    ],
    [
      'other types in one tensor',
      { inputs: [x, { ...y, dtype: 'int64' }] },
      /inputs\.1\.dtype: is int64, but x, a column of the same tensor features, is float32/,
    ],
    [
      'two dimensions beside other columns',
      { inputs: [x, { ...y, shape: [2, 2] }] },
      /inputs\.1\.shape: is \[2, 2\], but the tensor features has other inputs/,
    ],
    [
      'NaN for whole numbers',
      { inputs: [{ ...x, dtype: 'int32', missing: 'nan' }] },
      /inputs\.0\.missing: is nan, but int32 has no NaN/,
    ],
    [
      'a text for a missing number',
      { inputs: [{ ...x, missing: 'none' }] },
      /inputs\.0\.missing: is 'none', but the input is float32/,
    ],
    [
      'a missing value that is also a text of the encoding',
      { inputs: [{ ...x, missing: 'nan', encoding: { a: 1, nan: 7 } }] },
      /inputs\.0\.missing: is 'nan', which is also a text of the encoding: for that text use its number, 7/,
    ],
    [
      'a refusal that is also a text of the encoding',
      { inputs: [{ ...x, missing: 'refuse', encoding: { refuse: 0 } }] },
      /inputs\.0\.missing: is 'refuse', which is also a text of the encoding/,
    ],
    [
      'more elements than a row may have',
      {
        inputs: [
          { ...x, shape: [1000, 500] },
          { ...y, tensor: 'y', shape: [1e9], missing: 0 },
        ],
      },
      /inputs\.1\.shape: makes rows of more than 1000000 elements/,
    ],
    [
      'a number for a missing text',
      { inputs: [{ ...x, dtype: 'string', missing: 0 }] },
      /inputs\.0\.missing: is 0, but the input is string/,
    ],
    [
      'a missing value that does not fit',
      { inputs: [{ ...x, dtype: 'uint8', missing: 256 }] },
      /inputs\.0\.missing: is 256, which is not a whole number from 0 to 255/,
    ],
    [
      'codes for texts of a text input',
      { inputs: [{ ...x, dtype: 'string', encoding: { a: 1 } }] },
      /inputs\.0\.encoding: turns texts into numbers, but the input is string/,
    ],
    [
      'codes that do not fit',
      { inputs: [{ ...x, dtype: 'int8', encoding: { a: 300 } }] },
      /inputs\.0\.encoding: has 300, which is not/,
    ],
    [
      'a type of no common tensor',
      { runtime: { ...ownTensors, input_dtype: 'float64' } },
      /input_dtype: needs an input_tensor/,
    ],
    [
      'a common tensor of floats for whole numbers',
      { inputs: [{ ...x, dtype: 'int64' }], runtime: { ...valid.runtime, input_dtype: 'float64' } },
      /inputs\.0\.dtype: is int64, but input_dtype is float64/,
    ],
    ['a common tensor without columns', { inputs: [{ ...x, tensor: 'x' }] }, /input_tensor: has no columns/],
    [
      'an output twice',
      { outputs: [{ name: 'result', dtype: 'float32' }] },
      /outputs\.0\.name: result is used twice/,
    ],
  ];

  it.each(contradictions)('rejects %s', (_what, changes, message) => {
    expect(() => parse(changes)).toThrow(message);
  });

  it('rejects invalid JSON', () => {
    expect(() => parseManifest('{', 'model.json')).toThrow(/model\.json is invalid: not JSON/);
  });

  it('names the line of what is wrong', () => {
    const lines = JSON.stringify({ ...valid, license: 7 }, undefined, 2).split('\n');
    const line = lines.findIndex((text) => text.includes('"license"')) + 1;
    expect(() => parseManifest(lines.join('\n'), 'model.json')).toThrow(`(line ${line})`);
    expect(() => parseManifest('{\n"name": "a"\n"version"', 'model.json')).toThrow('(line 3)');
  });
});

describe('parseGolden', () => {
  it('names a row with the wrong number of features', () => {
    const rows = [
      { features: [1, 2], prediction: 3 },
      { features: [1], prediction: 1 },
    ];
    expect(() => parseGolden(JSON.stringify({ rows }), 'golden.json', 2)).toThrow(
      /golden\.json is invalid: rows\.1\.features has 1 values, but the model has 2 inputs/,
    );
  });

  it('accepts rows of any kind, and how they are compared', () => {
    const golden = {
      independent: false,
      tolerance: 1e-3,
      rows: [
        {
          features: [null, 'text', true, [[1, null]]],
          prediction: 0.5,
          label: 'a',
          outputs: { probabilities: { a: 0.5, b: 0.5 } },
        },
      ],
    };
    expect(parseGolden(JSON.stringify(golden), 'golden.json', 4)).toEqual(golden);
    expect(() => parseGolden(JSON.stringify({ ...golden, tolerance: 0.1 }), 'golden.json', 4)).toThrow(
      /tolerance: /,
    );
  });

  it('limits the number of fields in the error', () => {
    const rows = Array.from({ length: 1_000 }, () => 1);
    expect(() => parseGolden(JSON.stringify({ rows }), 'golden.json', 2)).toThrow(/and 980 more/);
  });

  it('rejects an empty list', () => {
    expect(() => parseGolden('{"rows":[]}', 'golden.json', 2)).toThrow(/rows: /);
  });
});

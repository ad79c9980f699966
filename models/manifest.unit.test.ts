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
    const wrong = { digest: 'abc', inputs: [{ name: 'first', dtype: 'float64', meaning: 'any number' }] };
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

  it('rejects invalid JSON', () => {
    expect(() => parseManifest('{', 'model.json')).toThrow(/model\.json is invalid: not JSON/);
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

  it('limits the number of fields in the error', () => {
    const rows = Array.from({ length: 1_000 }, () => 1);
    expect(() => parseGolden(JSON.stringify({ rows }), 'golden.json', 2)).toThrow(/and 980 more/);
  });

  it('rejects an empty list', () => {
    expect(() => parseGolden('{"rows":[]}', 'golden.json', 2)).toThrow(/rows: /);
  });
});

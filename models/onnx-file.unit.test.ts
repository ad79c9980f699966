import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { assert, property, uint8Array } from 'fast-check';
import { MillraceError } from '../platform/errors.js';
import { packageRoot } from '../platform/paths.js';
import {
  classLabelsOf,
  externalFilesOf,
  opsetsOf,
  requireWeightsInside,
  withFloatOutput,
  withWeightsInside,
  zipMapsOf,
} from './onnx-file.js';

const credit: Uint8Array = readFileSync(join(packageRoot, 'models', 'credit-default', '1', 'model.onnx'));

/** Encodes one field: a text, or the fields of a nested message. */
function field(number: number, content: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function varint(value: number): Uint8Array {
  const rest = Math.floor(value / 128);
  return Buffer.from(rest === 0 ? [value] : [(value % 128) + 128, ...varint(rest)]);
}

/** y = x + w, with the two floats of w in the file `weights.bin`, after four bytes of something else. */
function withExternalWeights(location: string, length = 8): Uint8Array {
  const type = Buffer.from([0x0a, 0x0c, 0x08, 1, 0x12, 8, 0x0a, 2, 0x08, 1, 0x0a, 2, 0x08, 2]);
  const value = (name: string) => Buffer.concat([field(1, name), field(2, type)]);
  const entry = (key: string, text: string) => field(13, Buffer.concat([field(1, key), field(2, text)]));
  const weights = Buffer.concat([
    Buffer.from([0x08, 1, 0x08, 2, 0x10, 1]), // dims [1, 2], float
    field(8, 'w'),
    entry('location', location),
    entry('offset', '4'),
    entry('length', String(length)),
    Buffer.from([0x70, 1]), // data_location: external
  ]);
  const node = Buffer.concat([field(1, 'x'), field(1, 'w'), field(2, 'y'), field(4, 'Add')]);
  const graph = Buffer.concat([
    field(1, node),
    field(2, 'g'),
    field(5, weights),
    field(11, value('x')),
    field(12, value('y')),
  ]);
  return Buffer.concat([Buffer.from([0x08, 8]), field(7, graph), field(8, Buffer.from([0x10, 17]))]);
}

it('reads the operator sets', () => {
  expect(opsetsOf(credit)).toEqual({ 'ai.onnx': 17, 'ai.onnx.ml': 3 });
});

it('finds no ZipMap and no external file in a plain model', () => {
  expect(zipMapsOf(credit).size).toBe(0);
  expect(externalFilesOf(credit)).toEqual([]);
  expect(Buffer.from(withWeightsInside(credit, new Map())).equals(credit)).toBe(true);
});

const toy = (name: string): Uint8Array =>
  readFileSync(join(packageRoot, 'models', 'testing', 'graphs', `${name}.onnx`));

it.each([
  ['iris-zipmap', ['setosa', 'versicolor', 'virginica']],
  ['iris-whole-number-labels', ['-1', '0', '9007199254740993']],
])('finds the ZipMap of %s with its classes', (name, classes) => {
  const zipMaps = zipMapsOf(toy(name));
  expect([...zipMaps]).toEqual([['output_probability', { tensor: 'probabilities', classes }]]);
});

it.each([
  // In an attribute of the classifier, and in a constant.
  ['iris-columns', ['setosa', 'versicolor', 'virginica']],
  ['iris-nearest', ['setosa', 'versicolor', 'virginica']],
  ['iris-whole-number-labels', ['-1', '0', '9007199254740993']],
])('finds the class labels in %s', (name, classes) => {
  expect(classLabelsOf(toy(name))).toContainEqual(classes);
});

it('finds no class labels in a regressor', () => {
  expect(classLabelsOf(credit)).toEqual([]);
});

it('adds an internal tensor to the outputs', async () => {
  const session = await InferenceSession.create(withFloatOutput(credit, 'score'));
  expect(session.outputNames).toEqual(['probability', 'score']);
  const row = new Tensor('float32', new Float32Array(23), [1, 23]);
  const { probability, score } = await session.run({ features: row });
  const logOdds = Number(score?.data[0]);
  expect(1 / (1 + Math.exp(-logOdds))).toBeCloseTo(Number(probability?.data[0]), 6);
  await session.release();
});

describe('weights in a separate file', () => {
  const file = Buffer.concat([Buffer.from('skip'), Buffer.from(Float32Array.from([10, 20]).buffer)]);

  it('are embedded in the model', async () => {
    const onnx = withExternalWeights('weights.bin');
    expect(externalFilesOf(onnx)).toEqual(['weights.bin']);
    const whole = withWeightsInside(onnx, new Map([['weights.bin', file]]));
    expect(externalFilesOf(whole)).toEqual([]);
    const session = await InferenceSession.create(whole);
    const { y } = await session.run({ x: new Tensor('float32', Float32Array.from([1, 2]), [1, 2]) });
    expect(y?.data).toEqual(Float32Array.from([11, 22]));
    await session.release();
  });

  it.each([
    ['is not there', new Map(), 8],
    ['is too short', new Map([['weights.bin', file.subarray(0, 8)]]), 8],
    ['is shorter than any file', new Map([['weights.bin', file]]), -1],
  ])('are refused when the file %s', (_name, files, length) => {
    const onnx = withExternalWeights('weights.bin', length);
    expect(() => withWeightsInside(onnx, files)).toThrow(expect.objectContaining({ code: 'ONNX_INVALID' }));
  });
});

describe('a tensor in another file', () => {
  const location = field(13, Buffer.concat([field(1, 'location'), field(2, 'secret.txt')]));
  const elsewhere = Buffer.concat([field(8, 'w'), location]);
  const inGraph = (number: number, content: Uint8Array) => field(7, field(number, content));
  const inAttribute = (number: number, content: Uint8Array) => inGraph(1, field(5, field(number, content)));
  const constant = field(1, field(5, field(5, elsewhere)));
  const refused = expect.objectContaining({
    code: 'MODEL_REFUSED',
    message: expect.stringMatching(/"secret\.txt"|file, ""/) as string,
  }) as Error;

  it.each([
    ['an initializer', inGraph(5, elsewhere)],
    ['the values of a sparse initializer', inGraph(15, field(1, elsewhere))],
    ['the indices of a sparse initializer', inGraph(15, field(2, elsewhere))],
    ['a constant', inAttribute(5, elsewhere)],
    ['a list of tensors', inAttribute(10, elsewhere)],
    ['a sparse constant', inAttribute(22, field(1, elsewhere))],
    ['a list of sparse tensors', inAttribute(23, field(2, elsewhere))],
    ['a graph inside of a node', inAttribute(6, field(5, elsewhere))],
    ['a constant of a graph in a list of graphs', inAttribute(11, constant)],
    ['a constant of a function', field(25, field(7, field(5, field(5, elsewhere))))],
    ['the default of a function’s attribute', field(25, field(11, field(5, elsewhere)))],
    ['where training starts', field(20, field(1, constant))],
    ['what training does', field(20, field(2, constant))],
    ['a tensor that says only so', inGraph(5, Buffer.from([0x70, 1]))],
  ])('is refused as %s', (_where, onnx) => {
    expect(() => requireWeightsInside(onnx)).toThrow(refused);
    expect(() => requireWeightsInside(Buffer.concat([credit, onnx]))).toThrow(refused);
  });

  it('is embedded at any place in the model', () => {
    const onnx = Buffer.concat([inAttribute(5, elsewhere), inGraph(15, field(1, elsewhere))]);
    const whole = withWeightsInside(onnx, new Map([['secret.txt', Buffer.from('abc')]]));
    expect(Buffer.from(whole).toString('latin1').match(/abc/g)).toHaveLength(2);
    requireWeightsInside(whole);
  });

  it('is rejected behind a field number that other parsers truncate', () => {
    // The tag of field 5, and a bit beyond the 32 that are kept.
    const hidden = Buffer.concat([Buffer.from([0xaa, 0x80, 0x80, 0x80, 0x10, elsewhere.length]), elsewhere]);
    expect(() => requireWeightsInside(field(7, hidden))).toThrow(
      expect.objectContaining({ code: 'ONNX_INVALID' }),
    );
  });

  it('is not searched beyond the recursion limit', () => {
    let onnx: Uint8Array = elsewhere;
    for (let depth = 0; depth < 60; depth++) onnx = field(1, field(5, field(6, onnx)));
    expect(() => requireWeightsInside(field(7, onnx))).toThrow(
      expect.objectContaining({ code: 'ONNX_INVALID' }),
    );
  });

  it('is rejected with the ORT format', () => {
    expect(() => requireWeightsInside(Buffer.from('\x08\x08\x0a\x02ORTM', 'latin1'))).toThrow(
      expect.objectContaining({ code: 'ONNX_INVALID' }),
    );
  });
});

it('parses or rejects arbitrary bytes', () => {
  assert(
    property(uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        opsetsOf(bytes);
        zipMapsOf(bytes);
        classLabelsOf(bytes);
        externalFilesOf(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(MillraceError);
      }
    }),
  );
});

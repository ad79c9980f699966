import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseGolden, parseManifest } from '../manifest.js';
import { copyModel, testingModels } from './copy-model.js';

/** In an ONNX graph, the dimension of the toy `sum` that says how many features it takes. */
const width = Buffer.from([0x0a, 0x02, 0x08, 3]);

/**
 * Writes a version of any model that adds up its features: another digest and other scores for the same inputs, so that a
 * test can tell which version scored.
 *
 * @param source - folder of a version of that model, whose inputs and golden features are taken.
 * @param identity - the version is in the graph too, so that each has a digest of its own; the name is the source's by default.
 * @returns `target`.
 */
export async function writeSummingVersion(
  source: string,
  target: string,
  identity: { version: string; name?: string },
): Promise<string> {
  const { inputs, runtime } = parseManifest(await readFile(join(source, 'model.json'), 'utf8'), source);
  const golden = parseGolden(await readFile(join(source, 'golden.json'), 'utf8'), source, inputs.length);
  const sum = await readFile(join(testingModels, 'sum', '1', 'model.onnx'));
  const at = sum.indexOf(width);
  if (at === -1 || inputs.length > 127)
    throw new Error('The graph of the toy model `sum` is another than this knows.');
  sum[at + width.length - 1] = inputs.length;
  // Field 6 of an ONNX ModelProto is its doc string; protobuf fields may stand in any order.
  const doc = Buffer.from(identity.version);
  const onnx = Buffer.concat([sum, Buffer.from([(6 << 3) | 2, doc.length]), doc]);
  return copyModel(source, target, {
    manifest: { ...identity, runtime: { ...runtime, output_tensor: 'result' } },
    golden: golden.map(({ features }) => ({ features, prediction: sumOf(features) })),
    onnx,
  });
}

export function sumOf(features: readonly number[]): number {
  return features.reduce((sum, feature) => sum + feature, 0);
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseGolden, parseManifest } from '../manifest.js';
import { copyModel, testingModels } from './copy-model.js';

/** Encoded dimension of the test model `sum` with its number of features. */
const width = Buffer.from([0x0a, 0x02, 0x08, 3]);

/**
 * Writes a version of any model that returns the sum of its features. Its digest and scores differ, so that a
 * test can tell which version scored.
 *
 * @param source - folder of a version of that model, with the inputs and golden features to use.
 * @param identity - the version is also in the graph, so that each has its own digest. Default name: the
 *   source's.
 * @returns `target`.
 */
export async function writeSummingVersion(
  source: string,
  target: string,
  identity: { version: string; name?: string },
): Promise<string> {
  const { inputs, runtime, output } = parseManifest(
    await readFile(join(source, 'model.json'), 'utf8'),
    source,
  );
  const golden = parseGolden(await readFile(join(source, 'golden.json'), 'utf8'), source, inputs.length);
  const sum = await readFile(join(testingModels, 'sum', '1', 'model.onnx'));
  const at = sum.indexOf(width);
  if (at === -1 || inputs.length > 127) throw new Error('The graph of the test model `sum` has changed.');
  sum[at + width.length - 1] = inputs.length;
  // Field 6 of an ONNX ModelProto is its doc string. Protobuf fields may be in any order.
  const doc = Buffer.from(identity.version);
  const onnx = Buffer.concat([sum, Buffer.from([(6 << 3) | 2, doc.length]), doc]);
  return copyModel(source, target, {
    manifest: {
      ...identity,
      runtime: { ...runtime, output_tensor: 'result' },
      // A sum is no probability, also where the source's output is one.
      output: { ...output, scale: 'number' },
    },
    golden: golden.rows.map(({ features }) => ({ features, prediction: sumOf(features.map(Number)) })),
    onnx,
  });
}

export function sumOf(features: readonly number[]): number {
  return features.reduce((sum, feature) => sum + feature, 0);
}

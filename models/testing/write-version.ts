import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Golden, ModelManifest } from '../manifest.js';
import { graph, modelOf } from './onnx-graph.js';

/** What a test says about its version; the rest of model.json is the same for all. */
export interface VersionParts {
  /** Default: the default `output_tensor` `y`. */
  runtime?: Partial<ModelManifest['runtime']>;
  inputs: ModelManifest['inputs'];
  /** Default: float32 `y`. */
  output?: Partial<ModelManifest['output']>;
  outputs?: ModelManifest['outputs'];
  golden: Golden;
}

/** Writes a version folder `toy/1` in `root`. @returns its path. */
export async function writeVersion(
  root: string,
  onnx: Uint8Array,
  { runtime, inputs, output, outputs, golden }: VersionParts,
): Promise<string> {
  const folder = join(root, 'toy', '1');
  await mkdir(folder, { recursive: true });
  const manifest: ModelManifest = {
    name: 'toy',
    version: '1',
    digest: createHash('sha256').update(onnx).digest('hex'),
    license: 'Apache-2.0',
    description: 'A toy.',
    runtime: { format: 'onnx', opsets: { 'ai.onnx': 17 }, output_tensor: 'y', ...runtime },
    inputs,
    output: { name: 'y', dtype: 'float32', ...output },
    ...(outputs === undefined ? {} : { outputs }),
    metrics: {},
    model_card: { intended_use: 'Tests.', limits: [] },
  };
  await writeFile(join(folder, 'model.onnx'), onnx);
  await writeFile(join(folder, 'model.json'), JSON.stringify(manifest));
  await writeFile(join(folder, 'golden.json'), JSON.stringify(golden));
  return folder;
}

/** Encodes a model of nodes, with its inputs and outputs (see `valueInfo`) and constants (see `tensor`). */
export function toyModel(
  nodes: readonly Uint8Array[],
  inputs: readonly Uint8Array[],
  outputs: readonly Uint8Array[],
  constants: readonly Uint8Array[] = [],
): Uint8Array {
  return modelOf(graph(nodes, inputs, outputs, constants));
}

import { describe, expect, it } from 'vitest';
import type { ModelManifest } from './manifest.js';
import { isDigestOf, versionDigest } from './version-digest.js';

const manifest: ModelManifest = {
  name: 'm',
  version: '1',
  digest: 'a'.repeat(64),
  license: 'MIT',
  description: 'A model.',
  runtime: {
    format: 'onnx',
    opsets: { 'ai.onnx': 17, 'ai.onnx.ml': 3 },
    input_tensor: 'x',
    output_tensor: 'y',
  },
  inputs: [{ name: 'fuel', dtype: 'float32', encoding: { Diesel: 0, Petrol: 1 } }],
  output: { name: 'y', dtype: 'float32', decision: { threshold: 0.5, below: 'no', at_or_above: 'yes' } },
  metrics: {},
  model_card: { intended_use: 'Tests.', limits: [] },
};
const digest = versionDigest(manifest);

describe('versionDigest', () => {
  it('stays the same in each release: prediction ids follow from it', () => {
    expect(digest).toBe('162b03b014f83ec803e2d9615f372c002c745ad8d121fbed22f6a4afcb942956');
  });

  it('does not depend on the order of keys, nor on what decides no answer', () => {
    const opsets = { 'ai.onnx.ml': 3, 'ai.onnx': 17 };
    const runtime = { output_tensor: 'y', input_tensor: 'x', opsets, format: 'onnx' as const };
    const other = { ...manifest, runtime, version: '2', description: 'Another.', metrics: { auc: 1 } };
    expect(versionDigest(other)).toBe(digest);
  });

  it.each<[string, Partial<ModelManifest>]>([
    ['graph', { digest: 'b'.repeat(64) }],
    [
      'threshold',
      { output: { ...manifest.output, decision: { threshold: 0.2, below: 'no', at_or_above: 'yes' } } },
    ],
    ['encoding', { inputs: [{ name: 'fuel', dtype: 'float32', encoding: { Diesel: 1, Petrol: 0 } }] }],
    ['column', { runtime: { ...manifest.runtime, output_column: 1 } }],
    ['further output', { outputs: [{ name: 'z', dtype: 'float32' }] }],
  ])('differs with another %s', (_what, changes) => {
    expect(versionDigest({ ...manifest, ...changes })).not.toBe(digest);
  });

  it('or the digest of the graph, of earlier releases, is that of a version', () => {
    expect(isDigestOf(manifest, digest)).toBe(true);
    expect(isDigestOf(manifest, manifest.digest)).toBe(true);
    expect(isDigestOf(manifest, 'b'.repeat(64))).toBe(false);
  });
});

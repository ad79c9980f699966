import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../platform/paths.js';
import { openModel, readModel, type ModelArtifact } from './registry.js';
import { createModelRuntime, type LoadedModel } from './runtime.js';

// Tests the shipped model as processors and ingest use it. Loading already verifies the golden rows.
const runtime = createModelRuntime();
let artifact: ModelArtifact;
let model: LoadedModel;

beforeAll(async () => {
  const { folder } = await openModel(join(packageRoot, 'models'), 'credit-default');
  artifact = await readModel(folder);
  model = await runtime.load(folder);
});

afterAll(() => runtime.close());

/** Repeats the golden rows with slightly larger amounts each time. */
function clients(count: number): Float32Array {
  const rows = Array.from({ length: count }, (_, row) => {
    const stretch = 1 + Math.floor(row / artifact.golden.length) / 50;
    const features = artifact.golden[row % artifact.golden.length]?.features ?? [];
    return features.map((value, column) =>
      column === 0 || column > 10 ? Math.round(value * stretch) : value,
    );
  });
  return Float32Array.from(rows.flat());
}

/** @returns resident memory afterwards, in bytes. */
async function reload(times: number): Promise<number> {
  for (let i = 0; i < times; i++) {
    const again = await runtime.load(artifact.folder);
    await again.predict(clients(128), 128);
    await again.unload();
  }
  return process.memoryUsage().rss;
}

describe('credit-default', () => {
  it('has the columns of the table in order', () => {
    const names = artifact.manifest.inputs.map(({ name }) => name);
    expect(names).toHaveLength(23);
    expect([names[0], names[5], names[6], names[22]]).toEqual(['LIMIT_BAL', 'PAY_0', 'PAY_2', 'PAY_AMT6']);
  });

  it('returns identical scores for a row alone and in batches of any size', async () => {
    const count = 1030;
    const rows = clients(count);
    const alone = new Float32Array(count);
    for (let row = 0; row < count; row++) {
      alone.set(await model.predict(rows.subarray(row * 23, (row + 1) * 23), 1), row);
    }
    for (const size of [2, 3, 7, 64, 128, 129, 512, count]) {
      const batched = new Float32Array(count);
      for (let row = 0; row < count; row += size) {
        const end = Math.min(row + size, count);
        batched.set(await model.predict(rows.subarray(row * 23, end * 23), end - row), row);
      }
      expect(Buffer.from(batched.buffer).equals(Buffer.from(alone.buffer)), `batches of ${size}`).toBe(true);
    }
    expect(new Set(alone).size).toBeGreaterThan(200);
  });

  it('returns probabilities, also for unknown codes and amounts', async () => {
    const rows = clients(4);
    rows.set([1e9, 9, 9, 9, 120, 9, 9, 9, 9, 9, 9, 1e9, -1e9, 1e9, -1e9, 0, 0, 1e9, 1e9, 0, 0, 0, 0], 0);
    rows.fill(0, 23, 46);
    for (const score of await model.predict(rows, 4)) {
      expect(score).toBeGreaterThan(0);
      expect(score).toBeLessThan(1);
    }
  });

  it('does not leak memory on reload', async () => {
    const before = await reload(10);
    const after = await reload(15);
    // A leaked model would take about 11 MB.
    expect(after - before).toBeLessThan(100e6);
  });
});

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../platform/paths.js';
import { openModel, readModel, type ModelArtifact } from './registry.js';
import { scoresOf } from './testing/answers.js';
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
function clients(count: number): number[][] {
  return Array.from({ length: count }, (_, row) => {
    const stretch = 1 + Math.floor(row / artifact.golden.rows.length) / 50;
    const features = artifact.golden.rows[row % artifact.golden.rows.length]?.features ?? [];
    return features
      .map(Number)
      .map((value, column) => (column === 0 || column > 10 ? Math.round(value * stretch) : value));
  });
}

/** @returns resident memory afterwards, in bytes. */
async function reload(times: number): Promise<number> {
  for (let i = 0; i < times; i++) {
    const again = await runtime.load(artifact.folder);
    await again.predict(clients(128));
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
    const inBatchesOf = async (size: number): Promise<number[]> => {
      const scores: number[] = [];
      for (let row = 0; row < count; row += size) {
        scores.push(...scoresOf(await model.predict(rows.slice(row, row + size))));
      }
      return scores;
    };
    const alone = await inBatchesOf(1);
    for (const size of [2, 3, 7, 64, 128, 129, 512, count]) {
      expect(await inBatchesOf(size), `batches of ${size}`).toEqual(alone);
    }
    expect(new Set(alone).size).toBeGreaterThan(200);
  });

  it('returns probabilities, also for unknown codes and amounts', async () => {
    const rows = clients(4);
    rows[0] = [1e9, 9, 9, 9, 120, 9, 9, 9, 9, 9, 9, 1e9, -1e9, 1e9, -1e9, 0, 0, 1e9, 1e9, 0, 0, 0, 0];
    rows[1] = Array.from({ length: 23 }, () => 0);
    for (const score of scoresOf(await model.predict(rows))) {
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

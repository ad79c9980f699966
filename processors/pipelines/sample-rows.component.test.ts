import type { ModelRow } from '../../models/tensors.js';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { serveFolder } from '../../models/testing/served.js';
import { testingModels } from '../../models/testing/copy-model.js';
import { createModelRuntime } from '../../models/runtime.js';
import type { OpenPipeline } from './open-pipelines.js';
import { definePipeline, type Feature } from './pipeline.js';
import { misfitsOf, sampleRows } from './sample-rows.js';
import type { Scorer } from '../scoring/scorer.js';

const runtime = createModelRuntime();
afterAll(() => runtime.close());

/** A pipeline with a model of three inputs. */
async function rowsOf(features: (event: { a: number }) => Feature[]): Promise<ModelRow[]> {
  const { version } = await serveFolder(runtime, join(testingModels, 'sum', '1'));
  const pipeline = definePipeline({ name: 'sum', features, sample: (random) => ({ a: random() }) });
  return sampleRows([{ pipeline, name: 'sum' } as OpenPipeline], version.manifest);
}

it('makes rows of sample events', async () => {
  const rows = await rowsOf(({ a }) => [a, 2, 3]);
  expect(rows.length).toBeGreaterThan(10);
  for (const row of rows) expect(row).toEqual([expect.any(Number), 2, 3]);
});

it.each([
  ['are too few', () => [1, 2], 'takes 3'],
  ['are too many', () => [1, 2, 3, 4], 'takes 3'],
  ['are text where the model takes numbers', () => [1, 2, 'three'], 'three'],
  [
    'fail',
    () => {
      throw new Error('no such area');
    },
    'no such area',
  ],
] as [string, () => Feature[], string][])('refuses a version when features %s', async (_, features, why) => {
  await expect(rowsOf(features)).rejects.toMatchObject({
    code: 'MODEL_REFUSED',
    message: expect.stringMatching(new RegExp(`sum 1 can't score a sample event of sum: .*${why}`)) as string,
  });
});

it('refuses a version without an input that the pipeline names', async () => {
  const { version } = await serveFolder(runtime, join(testingModels, 'sum', '1'));
  const pipeline = { name: 'sum', inputs: { secnd: 'a' } };
  expect(() => sampleRows([{ pipeline, name: 'sum' } as unknown as OpenPipeline], version.manifest)).toThrow(
    /`inputs` of the pipeline names secnd, which is no input of the model\. Did you mean second\?/,
  );
});

it('finds the problem of a pipeline’s champion, and again after another is promoted', async () => {
  const champion = await serveFolder(runtime, join(testingModels, 'sum', '1'));
  let length = 2;
  const pipeline = definePipeline({
    name: 'sum',
    features: () => [1, 2, 3, 4].slice(0, length),
    sample: () => ({}),
  });
  let manifest = champion.version.manifest;
  const open = { pipeline, name: 'sum', scorer: { champions: () => [manifest] } as Scorer } as OpenPipeline;
  const problem = expect.stringMatching(/sum 1 can't score a sample event of sum: .*takes 3/) as string;
  expect(misfitsOf(open)).toEqual([problem]);
  length = 3;
  manifest = { ...manifest };
  expect(misfitsOf(open)).toEqual([]);
});

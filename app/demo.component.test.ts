import { expect, it } from 'vitest';
import { seededRandom } from '../processors/pipelines/sampler.js';
import { openToyPipeline } from '../processors/testing/toy-pipeline.js';
import { demoEvent } from './demo.js';

const random = seededRandom(3);

it('is the pipeline’s sample', async () => {
  const { pipeline: open } = await openToyPipeline();
  const sampled = { ...open, pipeline: { ...open.pipeline, sample: () => ({ a: 1, b: 2 }) } };
  expect(demoEvent(sampled, random)).toEqual({ a: 1, b: 2 });
});

it('is drawn from the contract of a pipeline without samples', async () => {
  const { pipeline: open } = await openToyPipeline();
  const [one, other] = [demoEvent(open, random), demoEvent(open, random)];
  expect(one).toEqual({ a: expect.any(Number) as number, b: expect.any(Number) as number });
  expect(other).not.toEqual(one);
});

it('is none that the model does not take', async () => {
  const { pipeline: open } = await openToyPipeline({ type: 'string' });
  expect(demoEvent(open, random)).toBeUndefined();
});

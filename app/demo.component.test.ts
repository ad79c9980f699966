import { expect, it, vi } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import type { EventAcceptor } from '../processors/events/accept-events.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import { PipelineSet } from '../processors/pipelines/pipeline-set.js';
import { seededRandom } from '../processors/pipelines/sampler.js';
import { openToyPipeline } from '../processors/testing/toy-pipeline.js';
import { demoEvent, startDemo } from './demo.js';

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

it('goes on after a sample whose code fails', async () => {
  const { pipeline: open } = await openToyPipeline();
  let draws = 0;
  const sample = () => {
    if (draws++ === 0) throw new Error('no luck');
    return { a: 1, b: 2 };
  };
  const pipelines = new PipelineSet();
  pipelines.open({ ...open, pipeline: { ...open.pipeline, sample } });
  const published: object[] = [];
  const publish = (_: OpenPipeline, events: object[]) => Promise.resolve(published.push(...events));
  const demo = startDemo(pipelines, { publish } as unknown as EventAcceptor, silentLogger);
  await vi.waitFor(() => expect(published).toEqual([{ a: 1, b: 2 }]), { timeout: 20_000 });
  await demo.stop();
});

it('is none that the model does not take', async () => {
  const { pipeline: open } = await openToyPipeline({ type: 'string' });
  expect(demoEvent(open, random)).toBeUndefined();
});

import { expect, test } from 'vitest';
import { pipelineTopics, pipelineTopicSpecs, systemTopicSpecs } from './topics.js';

test('a pipeline has four topics', () => {
  expect(pipelineTopics('credit-default')).toEqual({
    events: 'credit-default.events',
    predictions: 'credit-default.predictions',
    deadLetters: 'credit-default.dead-letters',
    outcomes: 'credit-default.outcomes',
  });
});

test('the log is the source of truth: events and predictions are kept permanently, in as many partitions as configured', () => {
  const specs = pipelineTopicSpecs('p', 7);
  expect(specs.map((spec) => spec.partitions)).toEqual([7, 7, 7, 7]);
  for (const name of ['p.events', 'p.predictions', 'p.outcomes'])
    expect(specs.find((spec) => spec.name === name)?.config).toMatchObject({ 'retention.ms': '-1' });
});

test('a dead letter may be larger than the event in it', () => {
  const config = pipelineTopicSpecs('p', 1).find((spec) => spec.name === 'p.dead-letters')?.config;
  expect(Number(config?.['max.message.bytes'])).toBeGreaterThan(1_048_588);
});

test('models are compacted', () => {
  expect(systemTopicSpecs().find((spec) => spec.name === 'millrace.models')?.config).toEqual({
    'cleanup.policy': 'compact',
  });
});

import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { serveFolder } from '../models/testing/served.js';
import { createModelRuntime } from '../models/runtime.js';
import { testingModels } from '../models/testing/copy-model.js';
import { silentLogger } from '../platform/logger.js';
import { createMetrics } from '../platform/metrics.js';
import type { RecordSchema } from '../schemas/contracts.js';
import { definePipeline } from './pipeline.js';
import { InvalidEvent, Scorer } from './scorer.js';
import type { KeyedEvent } from './turns.js';

interface Triple {
  a: number;
  b: number;
  c: number;
}

const contract: RecordSchema = {
  type: 'record',
  name: 'Triple',
  namespace: 'test',
  doc: 'Three numbers.',
  fields: ['a', 'b', 'c'].map((name) => ({ name, type: 'double', doc: name })),
};

const runtime = createModelRuntime();
afterAll(() => runtime.close());

async function createScorer(
  model: string,
  features: (event: Triple) => number[] = ({ a, b, c }) => [a, b, c],
): Promise<Scorer> {
  const champion = await serveFolder(runtime, join(testingModels, model, '1'));
  return new Scorer({
    pipeline: definePipeline<Triple>({ name: model, features }),
    contract,
    served: { get: () => ({ champion, challenger: undefined }) },
    metrics: createMetrics(),
    logger: silentLogger,
  });
}

const triples = (...firsts: number[]): KeyedEvent[] =>
  firsts.map((a) => ({ fields: { a, b: 2, c: 3 }, key: String(a) }));
const score = (value: number): object => expect.objectContaining({ score: value, label: null }) as object;

describe('Scorer', () => {
  it('scores events in their order', async () => {
    const scorer = await createScorer('sum');
    expect(await scorer.score(triples(1, 10, 100))).toEqual([6, 15, 105].map(score));
    expect(await scorer.score([])).toEqual([]);
  });

  it('gives concurrent callers their own scores', async () => {
    const scorer = await createScorer('sum');
    const calls = Array.from({ length: 300 }, (_, index) => scorer.score(triples(index, -index)));
    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => [score(index + 5), score(5 - index)]));
  });

  it('lets an event that the model fails on fail alone', async () => {
    const scorer = await createScorer('fails-on-negative');
    const results = await scorer.score(triples(1, -1, 2, 3, -4, 5));
    expect(results).toMatchObject([
      score(6),
      { code: 'MODEL_FAILED' },
      score(7),
      score(8),
      { code: 'MODEL_FAILED' },
      score(10),
    ]);
  });

  it('takes NaN and infinity for no score', async () => {
    const scorer = await createScorer('nan-on-negative');
    const results = await scorer.score(triples(1, -1, 0));
    expect(results).toMatchObject([{ label: null }, { code: 'OUTPUT_INVALID' }, { code: 'OUTPUT_INVALID' }]);
  });

  it('keeps an event whose features fail or fit no 32-bit float from the model', async () => {
    const scorer = await createScorer('sum', ({ a, b, c }) => {
      if (a === 1) throw new Error('no such area');
      return a === 2 ? [b, c] : [a, b, c];
    });
    const results = await scorer.score(triples(1, 2, 1e300, 3));
    expect(results).toMatchObject([
      { code: 'FEATURES_INVALID', message: expect.stringContaining('no such area') as string },
      { code: 'FEATURES_INVALID', message: expect.stringContaining('takes 3') as string },
      { code: 'FEATURES_INVALID', message: expect.stringContaining('32-bit') as string },
      score(8),
    ]);
  });

  it('validates by the contract', async () => {
    const scorer = await createScorer('sum');
    expect(scorer.validate({ a: 1, b: 2, c: 3 })).toEqual({ a: 1, b: 2, c: 3 });
    const invalid = scorer.validate({ a: 1, b: 'two' });
    expect(invalid).toBeInstanceOf(InvalidEvent);
    expect(invalid).toMatchObject({ fields: [{ field: 'b' }, { field: 'c', problem: 'is missing' }] });
  });
});

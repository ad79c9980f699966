import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ServedAlias, ServedChallenger } from '../../models/lifecycle/model-slot.js';
import { serveFolder } from '../../models/testing/served.js';
import { createModelRuntime } from '../../models/runtime.js';
import { testingModels } from '../../models/testing/copy-model.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import { definePipeline } from '../pipelines/pipeline.js';
import { InvalidEvent } from '../../schemas/event-schema.js';
import { Scorer } from './scorer.js';
import { isCanary, type KeyedEvent } from './model-router.js';

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
const metrics = createMetrics();
afterAll(() => runtime.close());

const load = (model: string, event?: number): Promise<ServedAlias> =>
  serveFolder(runtime, join(testingModels, model, '1'), event);

async function createScorer(
  model: string,
  features: (event: Triple) => number[] = ({ a, b, c }) => [a, b, c],
  settings?: Partial<ServedChallenger>,
  shadowTimeoutMs = 60_000,
): Promise<Scorer> {
  const champion = await load(model);
  const challenger: ServedChallenger | undefined = settings && {
    ...(await load('sum', 2)),
    shadow: false,
    canaryShare: 0,
    ...settings,
  };
  return new Scorer({
    pipeline: definePipeline<Triple>({ name: model, features }),
    contract,
    served: { get: () => ({ champion, challenger }) },
    metrics,
    logger: silentLogger,
    shadowTimeoutMs,
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

  it('fails only the event that the model fails on', async () => {
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

  it('refuses NaN and infinity as scores', async () => {
    const scorer = await createScorer('nan-on-negative');
    const results = await scorer.score(triples(1, -1, 0));
    expect(results).toMatchObject([{ label: null }, { code: 'OUTPUT_INVALID' }, { code: 'OUTPUT_INVALID' }]);
  });

  it('keeps events whose features fail or exceed a 32-bit float from the model', async () => {
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

describe('a challenger', () => {
  const failures = async (role: string): Promise<number> => {
    const { values } = await metrics.challengerFailures.get();
    return values.find(({ labels }) => labels.role === role)?.value ?? 0;
  };
  const by = (role: string, event: number, value: unknown): object =>
    expect.objectContaining({
      score: value,
      by: expect.objectContaining({ role, event }) as object,
    }) as object;

  it('answers its keys as canary, the champion the others', async () => {
    const scorer = await createScorer('nan-on-negative', undefined, { canaryShare: 0.5 });
    const events = triples(...Array.from({ length: 100 }, (_, index) => index + 1));
    const answers = await scorer.score(events);
    const expected = events.map(({ fields, key }) => {
      const { a } = fields as Triple;
      return isCanary(key, 'nan-on-negative', 0.5)
        ? by('canary', 2, a + 5)
        : by('champion', 1, expect.closeTo(Math.log(a), 5));
    });
    expect(answers).toEqual(expected);
    expect(new Set(answers.map((answer) => 'by' in answer && answer.by.role)).size).toBe(2);
    expect(await scorer.shadow(events)).toEqual([]);
  });

  it('that fails as canary leaves the event to the champion', async () => {
    const scorer = await createScorer('sum', undefined, {
      ...(await load('fails-on-negative', 2)),
      canaryShare: 1,
    });
    const before = await failures('canary');
    expect(await scorer.score(triples(1, -1, 2))).toEqual([
      by('canary', 2, 6),
      by('champion', 1, 4),
      by('canary', 2, 7),
    ]);
    expect((await failures('canary')) - before).toBe(1);
  });

  it('that cannot run at all as canary leaves all events to the champion', async () => {
    const broken = await load('sum', 2);
    await broken.version.retire();
    const scorer = await createScorer('sum', undefined, { ...broken, canaryShare: 1 });
    expect(await scorer.score(triples(1, 2))).toEqual([by('champion', 1, 6), by('champion', 1, 7)]);
  });

  it('in shadow scores the events that it does not answer, and gives no shadow for those that it fails on', async () => {
    const challenger = await load('fails-on-negative', 2);
    const scorer = await createScorer('sum', undefined, { ...challenger, shadow: true });
    const before = await failures('shadow');
    const events = triples(1, -1, 2);
    expect(await scorer.score(events)).toEqual([1, -1, 2].map((a) => by('champion', 1, a + 5)));
    expect(await scorer.shadow(events)).toEqual([by('shadow', 2, 6), undefined, by('shadow', 2, 7)]);
    expect((await failures('shadow')) - before).toBe(1);
    const both = await createScorer('sum', undefined, { ...challenger, shadow: true, canaryShare: 0.5 });
    const many = triples(...Array.from({ length: 50 }, (_, index) => index));
    const [answers, shadows] = await Promise.all([both.score(many), both.shadow(many)]);
    for (const [index, answer] of answers.entries())
      expect('by' in answer && answer.by.role).toBe(shadows[index] === undefined ? 'canary' : 'champion');
  });

  describe('in shadow that is slow', () => {
    /** A version that answers once `release` was called. */
    async function slowShadow(): Promise<{
      alias: ServedChallenger;
      calls: () => number;
      release: () => void;
    }> {
      const slow = await load('sum', 2);
      let release = (): void => undefined;
      const gate = new Promise<void>((resolve) => (release = resolve));
      let calls = 0;
      const version = {
        manifest: slow.version.manifest,
        predict: async (rows: number[][]) => {
          calls += 1;
          await gate;
          return slow.version.predict(rows);
        },
      } as ServedAlias['version'];
      return { alias: { ...slow, version, shadow: true, canaryShare: 0 }, calls: () => calls, release };
    }

    it('delays no event, and gets no more while it is late', async () => {
      const { alias, calls, release } = await slowShadow();
      const scorer = await createScorer('sum', undefined, alias, 100);
      expect(await scorer.shadow(triples(1))).toEqual([undefined]);
      expect(await scorer.shadow(triples(1))).toEqual([undefined]);
      expect(calls()).toBe(1);
      release();
      await expect.poll(() => scorer.shadow(triples(1))).toEqual([by('shadow', 2, 6)]);
    });

    it('does not affect the shadows of other models of the pipeline', async () => {
      const { alias, calls, release } = await slowShadow();
      const champion = await load('sum');
      const quick = { ...(await load('sum', 3)), shadow: true, canaryShare: 0 };
      const scorer = new Scorer({
        pipeline: definePipeline<Triple>({
          name: 'two',
          models: ['slow', 'quick'],
          model: ({ a }) => (a < 0 ? 'slow' : 'quick'),
          features: ({ a, b, c }) => [a, b, c],
        }),
        contract,
        served: { get: (name) => ({ champion, challenger: name === 'slow' ? alias : quick }) },
        metrics,
        logger: silentLogger,
        shadowTimeoutMs: 100,
      });
      expect(await scorer.shadow(triples(-1))).toEqual([undefined]);
      // Under load the quick one may be late too, once.
      await expect.poll(() => scorer.shadow(triples(-1, 1))).toEqual([undefined, by('shadow', 3, 6)]);
      expect(calls()).toBe(1);
      release();
    });
  });
});

import { describe, expect, it } from 'vitest';
import type { ServedAlias, ServedModel } from '../../models/lifecycle/model-slot.js';
import type { MillraceError } from '../../platform/errors.js';
import { definePipeline } from '../pipelines/pipeline.js';
import { isCanary, modelFor, ModelRouter } from './model-router.js';

const keys = Array.from({ length: 10_000 }, (_, index) => `client-${index}`);
const canaries = (share: number, model = 'm'): string[] => keys.filter((key) => isCanary(key, model, share));

describe('isCanary', () => {
  it.each([0.01, 0.1, 0.5, 0.9])('takes about the share %d of the keys', (share) => {
    const { length } = canaries(share);
    // Five standard deviations of a binomial distribution.
    const tolerance = 5 * Math.sqrt(keys.length * share * (1 - share));
    expect(Math.abs(length - keys.length * share)).toBeLessThan(tolerance);
  });

  it('takes none at 0 and all at 1', () => {
    expect(canaries(0)).toEqual([]);
    expect(canaries(1)).toEqual(keys);
  });

  it('keeps its keys when the share grows', () => {
    const more = new Set(canaries(0.3));
    expect(canaries(0.1).filter((key) => !more.has(key))).toEqual([]);
  });

  it('takes other keys for another model', () => {
    const others = new Set(canaries(0.5, 'n'));
    const both = canaries(0.5).filter((key) => others.has(key)).length;
    expect(both).toBeGreaterThan(2000);
    expect(both).toBeLessThan(3000);
  });
});

describe('modelFor', () => {
  interface Car {
    group: string;
  }
  const cars = definePipeline<Car>({
    name: 'cars',
    models: ['cars-a', 'cars-b'],
    model: ({ group }) => `cars-${group.toLowerCase()}`,
    features: () => [],
  });

  it('asks the pipeline, and defaults to the first model', () => {
    expect(modelFor(cars, { group: 'B' })).toBe('cars-b');
    expect(modelFor({ name: 'rides', features: () => [] }, {})).toBe('rides');
  });

  it('refuses an event for which there is no model', () => {
    expect(modelFor(cars, { group: 'C' })).toMatchObject({ code: 'FEATURES_INVALID' });
    expect(modelFor(cars, {})).toMatchObject({ code: 'FEATURES_INVALID' });
  });
});

describe('ModelRouter', () => {
  interface Car {
    model: string;
  }
  const alias = (event: number): ServedAlias => ({ event, at: null, version: {} as ServedAlias['version'] });
  const served: Record<string, ServedModel> = {
    plain: { champion: alias(1), challenger: undefined },
    half: { champion: alias(2), challenger: { ...alias(3), shadow: false, canaryShare: 0.5 } },
    shadowed: { champion: alias(4), challenger: { ...alias(5), shadow: true, canaryShare: 0.5 } },
  };
  const pipeline = definePipeline<Car>({
    name: 'cars',
    models: Object.keys(served),
    model: ({ model }) => model,
    features: () => [],
  });
  const router = new ModelRouter(pipeline, {
    get: (model) => served[model] ?? expect.fail(`There is no model ${model}.`),
  });
  const events = (model: string) => keys.slice(0, 100).map((key) => ({ key, fields: { model } }));
  const none = (): void => expect.fail('An event was refused.');
  const isOf = (model: string, index: number): boolean => isCanary(keys[index] ?? '', model, 0.5);

  it('routes events to the champion of their model, all of one version together', () => {
    const mixed = [
      ...events('plain').slice(0, 2),
      ...events('half').slice(0, 50),
      ...events('plain').slice(2, 4),
    ];
    const [champion] = router.route(mixed, none);
    expect(champion).toMatchObject({ model: 'plain', role: 'champion', alias: { event: 1 } });
    expect(champion?.events.map(({ index }) => index)).toEqual([0, 1, 52, 53]);
  });

  it('routes the canary’s share of the keys to the challenger', () => {
    const assignments = router.route(events('half'), none);
    expect(new Set(assignments.map(({ role, alias: { event } }) => `${role} ${event}`))).toEqual(
      new Set(['champion 2', 'canary 3']),
    );
    for (const { role, events: assigned } of assignments)
      expect(assigned.filter(({ index }) => isOf('half', index) !== (role === 'canary'))).toEqual([]);
  });

  it('reports each event without a model, and routes the others', () => {
    const refused: [number, string][] = [];
    const [bad] = events('unknown');
    const [good] = events('plain');
    if (bad === undefined || good === undefined) throw new Error('There are no events.');
    const assignments = router.route([bad, good], (index, { code }: MillraceError) =>
      refused.push([index, code]),
    );
    expect(refused).toEqual([[0, 'FEATURES_INVALID']]);
    expect(assignments.map(({ events: assigned }) => assigned)).toEqual([
      [{ fields: good.fields, index: 1 }],
    ]);
  });

  it('has a shadow of the champion, and none for the keys that the challenger answers', () => {
    const [shadow, ...others] = router.shadows([
      ...events('shadowed'),
      ...events('plain'),
      ...events('half'),
    ]);
    expect(others).toEqual([]);
    expect(shadow).toMatchObject({ model: 'shadowed', role: 'shadow', alias: { event: 5 } });
    const expected = keys.slice(0, 100).flatMap((_, index) => (isOf('shadowed', index) ? [] : [index]));
    expect(shadow?.events.map(({ index }) => index)).toEqual(expected);
  });
});

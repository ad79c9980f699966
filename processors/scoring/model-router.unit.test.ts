import { describe, expect, it } from 'vitest';
import { definePipeline } from '../pipelines/pipeline.js';
import { isCanary, modelFor } from './model-router.js';

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

  it('keeps the keys that it has when the share grows', () => {
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

  it('asks the pipeline, and takes the first model of one that says nothing', () => {
    expect(modelFor(cars, { group: 'B' })).toBe('cars-b');
    expect(modelFor({ name: 'rides', features: () => [] }, {})).toBe('rides');
  });

  it('refuses an event for which there is no model', () => {
    expect(modelFor(cars, { group: 'C' })).toMatchObject({ code: 'FEATURES_INVALID' });
    expect(modelFor(cars, {})).toMatchObject({ code: 'FEATURES_INVALID' });
  });
});

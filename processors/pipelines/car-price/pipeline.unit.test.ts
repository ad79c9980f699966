import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../../platform/paths.js';
import { loadContract } from '../../../schemas/contracts.js';
import { eventSchema } from '../../../schemas/event-schema.js';
import type { CarPriceEvent } from '../../../schemas/types.js';
import { seededRandom } from '../sampler.js';
import { loadPipeline } from '../load-pipelines.js';

const { pipeline } = await loadPipeline(packageRoot, 'car-price');
const random = seededRandom(5);
const cars = Array.from({ length: 5000 }, () => pipeline.sample?.(random) as CarPriceEvent);
const share = (fits: (car: CarPriceEvent) => boolean): number => cars.filter(fits).length / cars.length;

describe('car-price', () => {
  it('lets the model group select the model', () => {
    const [car] = cars;
    expect(['A', 'B', 'C'].map((model_group) => pipeline.model?.({ ...car, model_group }))).toEqual(
      pipeline.models,
    );
  });

  it('draws cars that fit the contract, each field filled', () => {
    const schema = eventSchema(loadContract('car-price', 'event').schema);
    for (const car of cars) {
      schema.parse(car);
      expect(Object.values(car)).not.toContain('');
    }
  });

  it('draws groups, fuels and trims as often as the figures say', () => {
    const shares = [
      [share((car) => car.model_group === 'A'), 0.42],
      [share((car) => car.model_group === 'C'), 0.51],
      [share((car) => car.fuel_type === 'Diesel'), 0.64],
      [share((car) => car.color === 'Black'), 0.24],
      [share((car) => car.climate === 'Air Conditioning'), 0.48],
    ];
    for (const [drawn = 0, expected = 0] of shares) expect(Math.abs(drawn - expected)).toBeLessThan(0.03);
  });

  it('draws older cars with a higher mileage', () => {
    const kilometers = (fits: (car: CarPriceEvent) => boolean): number => {
      const group = cars.filter(fits);
      return group.reduce((sum, car) => sum + car.kilometers, 0) / group.length;
    };
    expect(kilometers((car) => car.age_in_months > 48)).toBeGreaterThan(
      3 * kilometers((car) => car.age_in_months < 18),
    );
  });
});

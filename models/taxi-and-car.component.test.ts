import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { packageRoot } from '../platform/paths.js';
import { makeRow } from '../processors/scoring/features.js';
import { loadPipeline } from '../processors/pipelines/load-pipelines.js';
import { pipeline as taxi } from '../processors/pipelines/taxi-trip-duration/pipeline.js';
import { seededRandom } from '../processors/pipelines/sampler.js';
import type { CarPriceEvent, TaxiTripDurationEvent } from '../schemas/types.js';
import { openModel } from './registry.js';
import { createModelRuntime, type LoadedModel } from './runtime.js';
import type { ModelRow } from './tensors.js';
import { scoresOf } from './testing/answers.js';

// Tests the shipped models with the features of their pipelines. Loading already verifies the golden rows.
const runtime = createModelRuntime();
afterAll(() => runtime.close());

const { pipeline: carPrice } = await loadPipeline(packageRoot, 'car-price');
const models = new Map<string, LoadedModel>();
const names = ['taxi-trip-duration', ...(carPrice.models ?? [])];

beforeAll(async () => {
  for (const name of names) {
    const { folder } = await openModel(join(packageRoot, 'models'), name);
    models.set(name, await runtime.load(folder));
  }
});

function modelNamed(name: string): LoadedModel {
  const model = models.get(name);
  if (model === undefined) throw new Error(`${name} is not loaded`);
  return model;
}

function rowsOf(model: LoadedModel, events: object[]): ModelRow[] {
  const pipeline = model.manifest.name === 'taxi-trip-duration' ? taxi : carPrice;
  return events.map((event) => {
    const row = makeRow(pipeline, model.manifest, event);
    if (row instanceof MillraceError) throw row;
    return row;
  });
}

async function score(name: string, ...events: object[]): Promise<number[]> {
  const model = modelNamed(name);
  return scoresOf(await model.predict(rowsOf(model, events)));
}

describe.each(names)('%s', (name) => {
  it('returns identical scores for a row alone and in batches of any size', async () => {
    const model = modelNamed(name);
    const random = seededRandom(3);
    const count = 515;
    const { sample } = name === 'taxi-trip-duration' ? taxi : carPrice;
    const rows = rowsOf(
      model,
      Array.from({ length: count }, () => sample?.(random, 1.7e12) ?? {}),
    );
    const inBatchesOf = async (size: number): Promise<number[]> => {
      const scores: number[] = [];
      for (let row = 0; row < count; row += size) {
        scores.push(...scoresOf(await model.predict(rows.slice(row, row + size))));
      }
      return scores;
    };
    const alone = await inBatchesOf(1);
    for (const size of [2, 3, 7, 64, 129, count]) {
      expect(await inBatchesOf(size), `batches of ${size}`).toEqual(alone);
    }
    expect(new Set(alone).size).toBeGreaterThan(200);
  });

  it('has clearly smaller errors in cross-validation than its baselines', () => {
    const { cross_validation: found } = modelNamed(name).manifest.metrics as {
      cross_validation: Errors & { baselines: Record<string, Errors> };
    };
    for (const baseline of Object.values(found.baselines)) {
      expect(found.mae.mean).toBeLessThan(0.6 * baseline.mae.mean);
      expect(found.rmse.mean).toBeLessThan(0.8 * baseline.rmse.mean);
    }
    expect(Object.keys(found.baselines)).toHaveLength(2);
  });
});

interface Errors {
  mae: { mean: number };
  rmse: { mean: number };
}

describe('taxi-trip-duration', () => {
  const ride: TaxiTripDurationEvent = {
    pickup_community_area: 8,
    dropoff_community_area: 32,
    trip_start_timestamp: Date.UTC(2026, 0, 30, 17, 45),
    fare: 9.25,
    trip_total: 11.5,
    trip_miles: 1.9,
  };
  const minutes = (changes: Partial<TaxiTripDurationEvent>): Promise<number[]> =>
    score('taxi-trip-duration', { ...ride, ...changes });

  it('predicts a plausible duration', async () => {
    const [short = 0, long = 0] = await score('taxi-trip-duration', ride, {
      ...ride,
      pickup_community_area: 76,
      trip_miles: 17.5,
      fare: 44,
    });
    expect(short).toBeGreaterThan(6);
    expect(short).toBeLessThan(20);
    expect(long).toBeGreaterThan(25);
    expect(long).toBeLessThan(80);
  });

  it('always predicts a positive duration', async () => {
    const odd: Partial<TaxiTripDurationEvent>[] = [
      { fare: 0 },
      { trip_miles: 0 },
      { fare: 0, trip_miles: 0 },
      { fare: 10_000, trip_miles: 0 },
      { fare: 0, trip_miles: 1000 },
      { pickup_community_area: 54, dropoff_community_area: 54 },
    ];
    for (const changes of odd) {
      const [duration] = await minutes(changes);
      expect(duration, JSON.stringify(changes)).toBeGreaterThan(0);
      expect(duration, JSON.stringify(changes)).toBeLessThan(24 * 60);
    }
  });

  it('treats unknown pairs as other', async () => {
    const { encoding = {}, unknown } = modelNamed('taxi-trip-duration').manifest.inputs[0] ?? {};
    expect(Object.keys(encoding)).toContain('8-32');
    expect(Object.keys(encoding)).not.toContain('54-2');
    expect(unknown).toBeGreaterThan(0);
    expect(await minutes({ pickup_community_area: 54, dropoff_community_area: 2 })).toEqual(
      await minutes({ pickup_community_area: 47, dropoff_community_area: 9 }),
    );
  });
});

describe('car-price', () => {
  const car: CarPriceEvent = {
    model_group: 'A',
    model: 180,
    kilometers: 5000,
    fuel_type: 'Diesel',
    gear_type: 'Manual',
    vehicle_type: 'Sedan Car',
    age_in_months: 12,
    color: 'Black',
    line: 'Sportline',
    doors: '4 to 5',
    seats: '1 to 3',
    climate: 'Air Conditioning',
  };
  const price = async (changes: Partial<CarPriceEvent> = {}, name = 'car-price-a'): Promise<number> =>
    (await score(name, { ...car, ...changes }))[0] ?? 0;

  it.each(carPrice.models ?? [])('%s: a price never rises with age or distance', async (name) => {
    for (const field of ['age_in_months', 'kilometers'] as const) {
      const values = Array.from({ length: 60 }, (_, step) => step * (field === 'kilometers' ? 5000 : 4));
      const prices = await score(name, ...values.map((value) => ({ ...car, [field]: value })));
      expect(prices).toEqual(prices.toSorted((a, b) => b - a));
      expect(prices[0]).toBeGreaterThan(1.2 * (prices.at(-1) ?? Number.POSITIVE_INFINITY));
    }
  });

  it('changes the price by the factor of a synthetic column', async () => {
    const inputs = modelNamed('car-price-a').manifest.inputs.slice(6);
    expect(inputs.map(({ name }) => name)).toEqual(['color', 'line', 'doors', 'seats', 'climate']);
    for (const { name, encoding = {}, unknown, meaning } of inputs) {
      expect(meaning).toContain('SYNTHETIC');
      expect(unknown).toBe(1);
      const average = await price({ [name]: 'something else' });
      for (const [value, factor] of Object.entries(encoding)) {
        expect((await price({ [name]: value })) / average).toBeCloseTo(factor, 5);
      }
    }
  });

  it('treats an unknown fuel, gearbox or vehicle type as the most common one, and ignores case', async () => {
    const same = await price({ fuel_type: ' DIESEL' });
    expect(same).toBe(await price());
    expect(await price({ fuel_type: 'Coal' })).toBe(await price({ fuel_type: 'Diesel' }));
    expect(await price({ gear_type: '?' })).toBe(await price({ gear_type: 'Semi-Auto' }));
    expect(await price({ vehicle_type: '' })).toBe(await price({ vehicle_type: 'Sedan Car' }));
    expect(await price({ fuel_type: 'Petrol' })).not.toBe(await price());
  });
});

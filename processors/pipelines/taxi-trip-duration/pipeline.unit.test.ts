import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { loadContract } from '../../../schemas/contracts.js';
import { eventSchema } from '../../../schemas/event-schema.js';
import type { TaxiTripDurationEvent } from '../../../schemas/types.js';
import { seededRandom } from '../sampler.js';
import { pipeline } from './pipeline.js';

const ride: TaxiTripDurationEvent = {
  pickup_community_area: 8,
  dropoff_community_area: 32,
  // A Saturday.
  trip_start_timestamp: Date.UTC(2026, 0, 31, 23, 59, 59),
  fare: 9,
  trip_total: 12,
  trip_miles: 1.5,
};
const featuresOf = (changes: Partial<TaxiTripDurationEvent>) =>
  pipeline.features?.({ ...ride, ...changes }) ?? [];

describe('features', () => {
  it('are pair, miles, fare per mile, hour, day from 1 for Sunday, and weekend', () => {
    expect(featuresOf({})).toEqual(['8-32', 1.5, 6, 23, 7, 1]);
    expect(featuresOf({ trip_start_timestamp: ride.trip_start_timestamp + 1000 })).toEqual([
      '8-32',
      1.5,
      6,
      0,
      1,
      1,
    ]);
    expect(featuresOf({ trip_start_timestamp: Date.UTC(2026, 1, 2) })).toEqual(['8-32', 1.5, 6, 0, 2, 0]);
  });

  it('count a ride of no miles as one of the meter’s least step', () => {
    expect(featuresOf({ trip_miles: 0 }).slice(1, 3)).toEqual([0, 90]);
    expect(featuresOf({ trip_miles: 0, fare: 0 }).slice(1, 3)).toEqual([0, 0]);
  });
});

describe('sample', () => {
  const figures = createRequire(import.meta.url)('#figures/taxi-trip-duration.json') as {
    pairs: [string, number][];
    hours: Record<string, number>;
    days: Record<string, number>;
  };
  const random = seededRandom(11);
  // A Wednesday.
  const now = Date.UTC(2026, 0, 28, 13, 7);
  const rides = Array.from({ length: 20_000 }, () => pipeline.sample?.(random, now) as TaxiTripDurationEvent);

  /** The largest difference between a value's share in the figures and its share in the rides. */
  function worstDifference(
    shares: [string, number][],
    of: (ride: TaxiTripDurationEvent) => string | number,
  ): number {
    const missing = new Map<string, number>();
    for (const [text, share] of shares) missing.set(text, (missing.get(text) ?? 0) + share);
    for (const each of rides) {
      const text = String(of(each));
      missing.set(text, (missing.get(text) ?? 0) - 1 / rides.length);
    }
    return Math.max(...Array.from(missing.values(), Math.abs));
  }

  it('draws rides that fit the contract', () => {
    const schema = eventSchema(loadContract('taxi-trip-duration', 'event').schema);
    for (const each of rides) schema.parse(each);
  });

  it('weights areas, hours and days as in the table', () => {
    const startOf = (each: TaxiTripDurationEvent) => new Date(each.trip_start_timestamp);
    const areas = (place: 0 | 1) =>
      figures.pairs.map(([pair, share]): [string, number] => [pair.split('-')[place] ?? '', share]);
    const differences = [
      worstDifference(areas(0), (each) => each.pickup_community_area),
      worstDifference(areas(1), (each) => each.dropoff_community_area),
      worstDifference(
        figures.pairs.map(([pair, share]) => [pair, share]),
        (each) => `${each.pickup_community_area}-${each.dropoff_community_area}`,
      ),
      worstDifference(Object.entries(figures.hours), (each) => startOf(each).getUTCHours()),
      worstDifference(Object.entries(figures.days), (each) => startOf(each).getUTCDay() + 1),
    ];
    // Three standard deviations of a share of one third.
    for (const difference of differences) expect(difference).toBeLessThan(0.01);
  });

  it('starts every ride on a quarter of an hour of the week before now', () => {
    const starts = rides.map((each) => each.trip_start_timestamp);
    expect(Math.max(...starts)).toBeLessThanOrEqual(now);
    expect(Math.min(...starts)).toBeGreaterThan(now - 7 * 24 * 3_600_000);
    expect(new Set(starts.map((start) => start % 900_000))).toEqual(new Set([0]));
  });

  it('draws fares that depend on miles, and miles that depend on the pair, as in the table', () => {
    const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
    const fareAt = (from: number, to: number): number =>
      median(rides.filter(({ trip_miles }) => trip_miles > from && trip_miles <= to).map(({ fare }) => fare));
    // The table's own medians.
    const tableFares: [from: number, to: number, fare: number][] = [
      [0, 0.2, 8.65],
      [0.5, 1, 5.5],
      [1, 2, 7.05],
      [2, 3, 9.05],
      [3, 5, 11.85],
      [5, 8, 16.05],
      [8, 12, 22.85],
      [12, 20, 36.04],
    ];
    for (const [from, to, fare] of tableFares) {
      expect(Math.abs(fareAt(from, to) / fare - 1), `${from} to ${to} miles`).toBeLessThan(0.1);
    }
    const milesOf = (pickup: number, dropoff: number): number =>
      median(
        rides
          .filter((each) => each.pickup_community_area === pickup && each.dropoff_community_area === dropoff)
          .map(({ trip_miles }) => trip_miles),
      );
    // From the airport downtown, and within downtown.
    expect(milesOf(76, 32)).toBeGreaterThan(10);
    expect(milesOf(8, 8)).toBeLessThan(1.5);
    for (const { fare, trip_total } of rides) expect(trip_total).toBeGreaterThanOrEqual(fare);
  });

  it('draws the same ride from the same numbers at the same time', () => {
    expect(pipeline.sample?.(seededRandom(3), now)).toEqual(pipeline.sample?.(seededRandom(3), now));
  });
});

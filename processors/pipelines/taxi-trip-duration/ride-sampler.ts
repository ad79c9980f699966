import type { TaxiTripDurationEvent } from '../../../schemas/types.js';
import { createRequire } from 'node:module';
import { interpolate, pick } from 'millrace';

/** Distribution of a value from some miles on, up to the next band. */
interface Band {
  from: number;
  quantiles: number[];
}

/**
 * Distributions of the training table: see `models/training/ride_figures.py`, whose `draw_rides` does the
 * same.
 */
interface RideFigures {
  probabilities: number[];
  pairs: [pair: string, share: number, typicalMiles: number][];
  hours: Record<string, number>;
  /** 1 is Sunday. */
  days: Record<string, number>;
  /** Ratios of a ride's miles to its pair's typical miles, in bands of those. */
  miles: Band[];
  /** Base of the ratios of `fares`, dollars. */
  meter: { start: number; per_mile: number };
  /** Ratios of a ride's fare to the meter's price for its miles, in bands of those. */
  fares: Band[];
  /** Ratios of tips to fares. */
  tips: number[];
}

const quarterHourMs = 15 * 60_000;
const dayMs = 24 * 60 * 60_000;
const { probabilities, pairs, hours, days, miles, meter, fares, tips } = createRequire(import.meta.url)(
  '#figures/taxi-trip-duration.json',
) as RideFigures;
const typicalMiles = new Map(pairs.map(([pair, , typical]) => [pair, typical]));
const hourShares = Object.entries(hours);
const dayShares = Object.entries(days);

/**
 * Draws a ride of the week before `now`: areas, hours and days as frequent as in the table, miles that depend
 * on the areas, and a fare that depends on the miles.
 */
export function drawRide(random: () => number, now: number = Date.now()): TaxiTripDurationEvent {
  const pair = pick(pairs, random()) ?? '';
  const [pickup_community_area = 0, dropoff_community_area = 0] = pair.split('-').map(Number);
  const typical = typicalMiles.get(pair) ?? 0;
  const trip_miles = rounded(typical * drawFrom(miles, typical, random), 100);
  const fare = rounded((meter.start + meter.per_mile * trip_miles) * drawFrom(fares, trip_miles, random), 20);
  const tip = fare * interpolate(probabilities, tips, random());
  const hour = Number(pick(hourShares, random()));
  const day = Number(pick(dayShares, random()));
  return {
    pickup_community_area,
    dropoff_community_area,
    trip_start_timestamp: latest(now, day, hour * 4 + Math.floor(random() * 4)),
    fare,
    trip_total: rounded(fare + tip, 100),
    trip_miles,
  };
}

function drawFrom(bands: readonly Band[], by: number, random: () => number): number {
  const { quantiles } = bands.findLast(({ from }) => by >= from) ?? { quantiles: [] };
  return interpolate(probabilities, quantiles, random());
}

/** Returns the last time before `now` with this quarter of an hour on this day of the week, in UTC. */
function latest(now: number, day: number, quarter: number): number {
  const today = Math.floor(now / dayMs) * dayMs;
  const daysAgo = (new Date(today).getUTCDay() + 1 - day + 7) % 7;
  const start = today - daysAgo * dayMs + quarter * quarterHourMs;
  return start <= now ? start : start - 7 * dayMs;
}

/** Rounds to multiples of 1 / `parts`. */
function rounded(value: number, parts: number): number {
  return Math.round(value * parts) / parts;
}

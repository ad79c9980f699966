import type { TaxiTripDurationEvent } from '../../../schemas/types.js';
import { definePipeline } from '../../pipeline.js';
import { loadSampler } from '../../sampler.js';

/** A ride as the sampler draws it: `pair` is `pickup-dropoff`, `day` is 1 for Sunday to 7. */
interface SampledRide {
  pair: string;
  hour: number;
  day: number;
  trip_miles: number;
  fare: number;
  tips: number;
}

/** The taximeter's step. A shorter ride counts as one step where it is divided by: see the model's card. */
const shortestMiles = 0.1;
const quarterHourMs = 15 * 60_000;
const dayMs = 24 * 60 * 60_000;

const drawRide = loadSampler<SampledRide>('taxi-trip-duration');

/** Minutes that a taxi ride in Chicago takes. Every ride is a thing of its own, so events have no key. */
export const pipeline = definePipeline<TaxiTripDurationEvent>({
  name: 'taxi-trip-duration',
  features: (ride) => {
    const start = new Date(ride.trip_start_timestamp);
    const day = start.getUTCDay() + 1;
    return [
      `${ride.pickup_community_area}-${ride.dropoff_community_area}`,
      ride.trip_miles,
      ride.fare / Math.max(ride.trip_miles, shortestMiles),
      start.getUTCHours(),
      day,
      day === 1 || day === 7 ? 1 : 0,
    ];
  },
  sample: (random, now = Date.now()) => {
    const { pair, hour, day, trip_miles, fare, tips } = drawRide(random);
    const [pickup_community_area = 0, dropoff_community_area = 0] = pair.split('-').map(Number);
    const quarter = Math.floor(random() * 4);
    return {
      pickup_community_area,
      dropoff_community_area,
      trip_start_timestamp: latest(now, day, hour * 4 + quarter),
      fare,
      trip_total: Math.round((fare + tips) * 100) / 100,
      trip_miles,
    };
  },
});

/** The last time before `now` that it was this quarter of an hour on this day of the week, in UTC. */
function latest(now: number, day: number, quarter: number): number {
  const today = Math.floor(now / dayMs) * dayMs;
  const daysAgo = (new Date(today).getUTCDay() + 1 - day + 7) % 7;
  const start = today - daysAgo * dayMs + quarter * quarterHourMs;
  return start <= now ? start : start - 7 * dayMs;
}

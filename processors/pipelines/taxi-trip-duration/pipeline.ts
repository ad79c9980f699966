import { definePipeline } from 'millrace';
import type { TaxiTripDurationEvent } from '../../../schemas/types.js';
import { drawRide } from './ride-sampler.js';

/** The taximeter's step, the minimum distance in divisions: see the model's card. */
const minMiles = 0.1;

/** Duration of a taxi ride in Chicago, minutes. Rides have no common subject, so events have no key. */
export const pipeline = definePipeline<TaxiTripDurationEvent>({
  name: 'taxi-trip-duration',
  features: (ride) => {
    const start = new Date(ride.trip_start_timestamp);
    const day = start.getUTCDay() + 1;
    return [
      `${ride.pickup_community_area}-${ride.dropoff_community_area}`,
      ride.trip_miles,
      ride.fare / Math.max(ride.trip_miles, minMiles),
      start.getUTCHours(),
      day,
      day === 1 || day === 7 ? 1 : 0,
    ];
  },
  sample: drawRide,
});

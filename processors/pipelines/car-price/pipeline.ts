import type { CarPriceEvent } from '../../../schemas/types.js';
import { definePipeline } from '../pipeline.js';
import { loadSampler } from '../sampler.js';
import { join } from 'node:path';
import { packageRoot } from '../../../platform/paths.js';

/** A car from the sampler: `kind` has the correlated values, `group|vehicle type|badge|fuel|gearbox`. */
type SampledCar = Omit<
  CarPriceEvent,
  'model_group' | 'vehicle_type' | 'model' | 'fuel_type' | 'gear_type'
> & { kind: string };

const drawCar = loadSampler<SampledCar>(join(packageRoot, 'models/training/figures/car-price.json'));

/**
 * Price of a used Mercedes-Benz: each model group has its own model. A car has no identity, so events have no
 * key.
 */
export const pipeline = definePipeline<CarPriceEvent>({
  name: 'car-price',
  models: ['car-price-a', 'car-price-b', 'car-price-c'],
  model: (car) => `car-price-${car.model_group.toLowerCase()}`,
  features: (car) => [
    car.model,
    car.kilometers,
    car.fuel_type,
    car.gear_type,
    car.vehicle_type,
    car.age_in_months,
    car.color,
    car.line,
    car.doors,
    car.seats,
    car.climate,
  ],
  sample: (random) => {
    const { kind, ...rest } = drawCar(random);
    const [group, vehicle_type = '', badge, fuel_type = '', gear_type = ''] = kind.split('|');
    const model_group = group as CarPriceEvent['model_group'];
    return { model_group, model: Number(badge), fuel_type, gear_type, vehicle_type, ...rest };
  },
});

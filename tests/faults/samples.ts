import { packageRoot } from '../../platform/paths.js';
import { loadUsablePipelines } from '../../processors/pipelines/load-pipelines.js';
import { pick } from './plan.js';

/** Date of the sample events: the same seed makes the same events at any time. */
const day = Date.UTC(2026, 0, 15);

/** Makes a pipeline's event violate its contract: one field is out of range. */
const spoilt: Record<string, object> = {
  'taxi-trip-duration': { pickup_community_area: 78 },
  'credit-default': { SEX: 9 },
  'car-price': { kilometers: -1 },
};

export const pipelineNames = Object.keys(spoilt);

/** Makes events of every pipeline. */
export class Samples {
  readonly #make: Map<string, (random: () => number) => object>;

  private constructor(make: Map<string, (random: () => number) => object>) {
    this.#make = make;
  }

  static async load(): Promise<Samples> {
    const pipelines = await loadUsablePipelines(packageRoot);
    return new Samples(
      new Map(
        pipelines.flatMap(({ name, pipeline: { sample } }) =>
          sample === undefined ? [] : [[name, (random: () => number) => sample(random, day)]],
        ),
      ),
    );
  }

  good(pipeline: string, random: () => number): object {
    const make = this.#make.get(pipeline);
    if (make === undefined) throw new Error(`${pipeline} makes no samples`);
    return make(random);
  }

  /** Makes an event that violates its contract, and can still be written as Avro. */
  bad(pipeline: string, random: () => number): object {
    return { ...this.good(pipeline, random), ...spoilt[pipeline] };
  }

  pipeline(random: () => number): string {
    return pick(pipelineNames, random());
  }
}

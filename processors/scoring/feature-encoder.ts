import { comparable, type ModelInput } from '../../models/manifest.js';
import { MillraceError } from '../../platform/errors.js';
import type { Feature } from '../pipelines/pipeline.js';

/** Makes the features of events into the numbers that one model takes, by its `model.json`. */
export class FeatureEncoder {
  readonly #inputs: readonly ModelInput[];
  readonly #codes: readonly (ReadonlyMap<string, number> | undefined)[];

  constructor(inputs: readonly ModelInput[]) {
    this.#inputs = inputs;
    this.#codes = inputs.map(
      ({ encoding }) =>
        encoding && new Map(Object.entries(encoding).map(([text, code]) => [comparable(text), code])),
    );
  }

  /** @returns one number for each input, or a `FEATURES_INVALID` that names the feature which makes none. */
  encode(features: readonly Feature[]): number[] | MillraceError {
    const { length } = this.#inputs;
    if (features.length !== length) {
      return invalid(`The pipeline made ${features.length} features; its model takes ${length}.`);
    }
    const row: number[] = [];
    for (const [index, feature] of features.entries()) {
      const code = typeof feature === 'string' ? this.#codeOf(index, feature) : feature;
      if (code === undefined) {
        return invalid(
          `Feature ${this.#inputs[index]?.name} is '${feature}', which its model does not know.`,
        );
      }
      // A model takes 32-bit floats: what does not fit one would reach it as infinite, and pass through it unnoticed.
      if (!Number.isFinite(Math.fround(code))) {
        return invalid(`Feature ${this.#inputs[index]?.name} is ${code}: not a finite 32-bit float.`);
      }
      row.push(code);
    }
    return row;
  }

  #codeOf(index: number, text: string): number | undefined {
    return this.#codes[index]?.get(comparable(text)) ?? this.#inputs[index]?.unknown;
  }
}

function invalid(problem: string): MillraceError {
  return new MillraceError('FEATURES_INVALID', problem);
}

import { MillraceError, messageOf } from '../../platform/errors.js';
import { comparable, type ModelInput, type ModelManifest } from '../../models/manifest.js';
import type { Feature, Pipeline } from '../pipelines/pipeline.js';

const encoders = new WeakMap<ModelManifest, FeatureEncoder>();

/**
 * Returns a model's input row for an event.
 *
 * @returns as many 32-bit floats as the model has inputs, or the event's error: `FEATURES_INVALID`.
 */
export function makeRow(
  { name, features }: Pipeline,
  manifest: ModelManifest,
  event: object,
): number[] | MillraceError {
  let row: Feature[];
  try {
    row = features(event);
  } catch (error) {
    return new MillraceError('FEATURES_INVALID', `The features of ${name} failed: ${messageOf(error)}.`, {
      cause: error,
    });
  }
  return encoderOf(manifest).encode(row);
}

function encoderOf(manifest: ModelManifest): FeatureEncoder {
  const known = encoders.get(manifest);
  if (known !== undefined) return known;
  const encoder = new FeatureEncoder(manifest.inputs);
  encoders.set(manifest, encoder);
  return encoder;
}

/** Encodes the features of events as numbers for one model, by its `model.json`. */
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

  /** @returns one number for each input, or a `FEATURES_INVALID` that names the feature without one. */
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
      // A model takes 32-bit floats: a larger number would reach it as infinite, without an error.
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

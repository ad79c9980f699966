import { MillraceError, messageOf } from '../../platform/errors.js';
import type { ModelManifest } from '../../models/manifest.js';
import { FeatureEncoder } from './feature-encoder.js';
import type { Feature, Pipeline } from '../pipelines/pipeline.js';

const encoders = new WeakMap<ModelManifest, FeatureEncoder>();

/**
 * The row that a model takes of an event.
 *
 * @returns as many 32-bit floats as the model has inputs, or what is wrong with the event: `FEATURES_INVALID`.
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

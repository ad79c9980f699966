import { encoderOf, type Feature } from '../../models/input-encoder.js';
import type { ModelManifest } from '../../models/manifest.js';
import type { ModelRow } from '../../models/tensors.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { pathReader } from '../../schemas/field-paths.js';
import type { Pipeline } from '../pipelines/pipeline.js';

type Read = (event: object) => Feature;

const readers = new WeakMap<ModelManifest, WeakMap<object, readonly Read[]>>();

/**
 * Returns a model's input row for an event: of the pipeline's features, or of the event fields that feed the
 * model's inputs.
 *
 * @returns a value for each input of the model, or the event's error: `FEATURES_INVALID`.
 */
export function makeRow(
  pipeline: Pipeline,
  manifest: ModelManifest,
  event: object,
): ModelRow | MillraceError {
  const features = featuresOf(pipeline, manifest, event);
  return features instanceof MillraceError ? features : encoderOf(manifest).encode(features);
}

function featuresOf(pipeline: Pipeline, manifest: ModelManifest, event: object): Feature[] | MillraceError {
  if (pipeline.features === undefined) return readersOf(pipeline, manifest).map((read) => read(event));
  try {
    return pipeline.features(event);
  } catch (error) {
    return new MillraceError(
      'FEATURES_INVALID',
      `The features of ${pipeline.name} failed: ${messageOf(error)}.`,
      { cause: error },
    );
  }
}

function readersOf(pipeline: Pipeline, manifest: ModelManifest): readonly Read[] {
  const ofManifest = readers.get(manifest) ?? new WeakMap<object, readonly Read[]>();
  readers.set(manifest, ofManifest);
  const known = ofManifest.get(pipeline);
  if (known !== undefined) return known;
  const made = manifest.inputs.map(({ name }) => pathReader(inputPath(pipeline, name)) as Read);
  ofManifest.set(pipeline, made);
  return made;
}

/** Returns the path of the event field that feeds an input, for a pipeline without feature code. */
export function inputPath({ inputs = {} }: Pick<Pipeline, 'inputs'>, input: string): string {
  return (Object.hasOwn(inputs, input) ? inputs[input] : undefined) ?? input;
}

import { MillraceError, messageOf } from '../platform/errors.js';
import type { ModelManifest } from '../models/manifest.js';
import type { Pipeline } from './pipeline.js';

/**
 * The row that a model takes of an event.
 *
 * @returns as many 32-bit floats as the model has inputs, or what is wrong with the event: `FEATURES_INVALID`.
 */
export function makeRow(
  { name, features }: Pipeline,
  { inputs }: ModelManifest,
  event: object,
): number[] | MillraceError {
  let row: number[];
  try {
    row = features(event);
  } catch (error) {
    return new MillraceError('FEATURES_INVALID', `The features of ${name} failed: ${messageOf(error)}.`, {
      cause: error,
    });
  }
  if (row.length !== inputs.length) {
    return new MillraceError(
      'FEATURES_INVALID',
      `${name} made ${row.length} features; its model takes ${inputs.length}.`,
    );
  }
  // A model takes 32-bit floats: what does not fit one would reach it as infinite, and pass through it unnoticed.
  const unfit = row.findIndex(isUnfit);
  if (unfit === -1) return row;
  return new MillraceError(
    'FEATURES_INVALID',
    `Feature ${inputs[unfit]?.name} is ${row[unfit]}: not a finite 32-bit float.`,
  );
}

function isUnfit(value: number): boolean {
  return !Number.isFinite(Math.fround(value));
}

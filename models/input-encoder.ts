import { MillraceError } from '../platform/errors.js';
import { comparable, type ModelInput, type ModelManifest } from './manifest.js';
import {
  type Dtype,
  elementDtype,
  type InputValue,
  kindOf,
  type ModelRow,
  numberMisfit,
  widthOf,
} from './tensors.js';

/**
 * A value for one input of a model: a number, a boolean, a text (for a text input, or for one whose
 * `encoding` maps it to a number), a list for an input with a shape, or nothing (null, undefined, NaN) where
 * it is missing.
 */
export type Feature = number | string | boolean | null | undefined | readonly Feature[];

type Scalar = number | string | boolean;
type EncodeValue = (feature: Feature) => InputValue | MillraceError;

const encoders = new WeakMap<ModelManifest, InputEncoder>();

/** Returns the encoder of a manifest, the same one each time. */
export function encoderOf(manifest: ModelManifest): InputEncoder {
  const known = encoders.get(manifest);
  if (known !== undefined) return known;
  const encoder = new InputEncoder(manifest.inputs, manifest.runtime);
  encoders.set(manifest, encoder);
  return encoder;
}

/** Checks features of events, and encodes them as the inputs of one model, by its `model.json`. */
export class InputEncoder {
  readonly #values: readonly EncodeValue[];

  /** @param runtime - for the type of a common input tensor. Default: the inputs' own types. */
  constructor(inputs: readonly ModelInput[], runtime?: ModelManifest['runtime']) {
    this.#values = inputs.map((input) =>
      valueEncoder(input, runtime === undefined ? input.dtype : elementDtype(input, runtime)),
    );
  }

  /** @returns a value for each input, or a `FEATURES_INVALID` that names the feature without a valid one. */
  encode(features: readonly Feature[]): ModelRow | MillraceError {
    const { length } = this.#values;
    if (features.length !== length) {
      return invalid(`The pipeline made ${features.length} features; its model takes ${length}.`);
    }
    const row = this.#values.map((encode, index) => encode(features[index]));
    return row.find((value) => value instanceof MillraceError) ?? (row as InputValue[]);
  }
}

function valueEncoder(input: ModelInput, dtype: Dtype): EncodeValue {
  const encodeScalar = scalarEncoder(input, dtype);
  const { name, shape } = input;
  if (shape === undefined) {
    return (feature) =>
      typeof feature === 'object' && feature !== null
        ? invalid(`Feature ${name} is a list; its model takes a single ${kindOf(dtype)}.`)
        : encodeScalar(feature, name);
  }
  const size = widthOf(shape);
  return (feature) => {
    const elements = isMissing(feature) ? Array.from<Feature>({ length: size }) : flatten(feature, shape);
    if (elements === undefined) {
      return invalid(`Feature ${name} is ${describe(feature)}; its model takes ${nouns(shape)}.`);
    }
    const values: Scalar[] = [];
    for (const [index, element] of elements.entries()) {
      const value = encodeScalar(element, `${name}[${index}]`);
      if (value instanceof MillraceError) return value;
      values.push(value);
    }
    return values;
  };
}

type EncodeScalar = (
  feature: Exclude<Feature, readonly Feature[]> | readonly Feature[],
  name: string,
) => Scalar | MillraceError;

function scalarEncoder(input: ModelInput, dtype: Dtype): EncodeScalar {
  const { missing = 'refuse' } = input;
  const kind = kindOf(dtype);
  const encodeGiven = givenEncoder(input, dtype);
  const substitute = missing === 'nan' ? Number.NaN : missing;
  // A text among the numbers is one of the encoding.
  const replacement =
    kind === 'number' && typeof substitute === 'string' ? input.encoding?.[substitute] : substitute;
  return (feature, name) => {
    if (!isMissing(feature)) return encodeGiven(feature, name);
    if (missing === 'refuse' || replacement === undefined) {
      return invalid(
        `Feature ${name} is ${feature}: a missing value, which its model does not take ("missing" in its model.json).`,
      );
    }
    return replacement;
  };
}

/** Encodes values that are not missing. */
function givenEncoder({ encoding, unknown }: ModelInput, dtype: Dtype): EncodeScalar {
  const kind = kindOf(dtype);
  const codes = encoding && new Map(Object.entries(encoding).map(([text, code]) => [comparable(text), code]));
  const otherKind = (feature: Feature, name: string) =>
    invalid(`Feature ${name} is ${describe(feature)}; its model takes ${aKind(dtype)}.`);
  if (kind === 'string')
    return (feature, name) => (typeof feature === 'string' ? feature : otherKind(feature, name));
  if (kind === 'boolean') {
    return (feature, name) =>
      typeof feature === 'boolean'
        ? feature
        : feature === 0 || feature === 1
          ? feature === 1
          : otherKind(feature, name);
  }
  return (feature, name) => {
    let value = feature;
    if (typeof value === 'string' && codes !== undefined) {
      value = codes.get(comparable(value)) ?? unknown;
      if (value === undefined)
        return invalid(`Feature ${name} is '${feature as string}', which its model does not know.`);
    }
    if (typeof value === 'boolean') return Number(value);
    if (typeof value !== 'number') return otherKind(feature, name);
    const misfit = numberMisfit(value, dtype);
    return misfit === undefined ? value : invalid(`Feature ${name} is ${value}: not ${misfit}.`);
  };
}

function isMissing(feature: Feature): feature is null | undefined | number {
  return feature === null || feature === undefined || Number.isNaN(feature);
}

/**
 * Returns the elements of a list in row-major order.
 *
 * @returns undefined unless it has exactly this shape, or is a flat list of as many elements.
 */
function flatten(feature: Feature, shape: readonly number[]): readonly Feature[] | undefined {
  if (!isList(feature)) return undefined;
  if (feature.length === widthOf(shape) && !feature.some(isList)) return feature;
  const [length, ...inner] = shape;
  if (feature.length !== length || inner.length === 0) return undefined;
  const parts = feature.map((part) => flatten(part, inner));
  return parts.every((part) => part !== undefined) ? parts.flat() : undefined;
}

function isList(feature: Feature): feature is readonly Feature[] {
  return Array.isArray(feature);
}

function describe(feature: Feature): string {
  if (isList(feature))
    return feature.some(isList) ? 'a nested list of another shape' : `a list of ${feature.length}`;
  return typeof feature === 'string' ? `'${feature}'` : String(feature);
}

function nouns(shape: readonly number[]): string {
  return shape.length === 1 ? `a list of ${shape[0]}` : `a list of the shape [${shape.join(', ')}]`;
}

function aKind(dtype: Dtype): string {
  if (dtype === 'string') return 'text';
  return dtype === 'bool' ? 'true or false' : `a number (${dtype})`;
}

function invalid(problem: string): MillraceError {
  return new MillraceError('FEATURES_INVALID', problem);
}

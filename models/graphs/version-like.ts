import { MillraceError } from '../../platform/errors.js';
import { type Feature, InputEncoder } from '../input-encoder.js';
import type { Golden, ModelInput, ModelManifest } from '../manifest.js';
import { type Dtype, inputTensorsOf, isFloat, kindOf, widthOf } from '../tensors.js';
import type { GivenPredictions } from './golden-rows.js';
import { type InputSlot, inputSlots, isScalar, shapeText } from './graph-inputs.js';
import type { OutputChoice } from './graph-outputs.js';
import { type MadeVersion, makeVersion, type VersionRequest } from './make-version.js';
import { type Graph, refused } from './read-graph.js';

export interface LikeRequest {
  graph: Graph;
  /** The version that the new one can replace. */
  champion: { manifest: ModelManifest; golden: Golden };
  version: string;
  /** Values for each input of the champion. Default: those of its golden rows. */
  rows?: VersionRequest['rows'] | undefined;
  predictions?: GivenPredictions | undefined;
  choice?: Pick<OutputChoice, 'output' | 'column' | 'classes'> | undefined;
  card?: VersionRequest['card'];
}

/**
 * Makes another version of a model from a graph: with the inputs and the output of the champion, whichever
 * tensors the graph has for them.
 *
 * @throws MillraceError `MODEL_REFUSED` if the graph does not take these inputs, `FILE_INVALID` for rows.
 */
export async function makeVersionLike(request: LikeRequest): Promise<MadeVersion> {
  const { graph, champion, version, choice = {}, predictions, card } = request;
  const { manifest, golden } = champion;
  const { inputs, inputTensor } = inputsLike(graph, manifest);
  const rows =
    request.rows ??
    golden.rows.map(({ features }, index) => ({ number: index + 1, features: features as Feature[] }));
  return makeVersion({
    graph,
    name: manifest.name,
    version,
    inputs,
    inputTensor,
    rows,
    predictions,
    choice: { ...choice, defaultClasses: manifest.output.classes, isSingle: isSingle(champion) },
    like: manifest,
    card: {
      license: manifest.license,
      description: manifest.description,
      model_card: manifest.model_card,
      ...card,
    },
  });
}

/** Whether the champion gives one number: neither probabilities of classes nor a vector. */
function isSingle({ manifest: { output, runtime }, golden }: LikeRequest['champion']): boolean {
  if (output.classes !== undefined) return false;
  return (
    runtime.output_column !== undefined ||
    !golden.rows.some(({ outputs = {} }) => Array.isArray(outputs[output.name]))
  );
}

/**
 * Returns the champion's inputs with the tensors of a graph: the same tensors, one matrix for all, or a
 * tensor for each.
 *
 * @throws MillraceError `MODEL_REFUSED` if the graph has none of these.
 */
export function inputsLike(
  graph: Pick<Graph, 'inputs'>,
  champion: ModelManifest,
): { inputs: ModelInput[]; inputTensor?: string } {
  const slots = inputSlots(graph);
  const { inputs, runtime } = champion;
  const slotOf = (name: string): InputSlot | undefined => slots.find((slot) => slot.name === name);
  const tensors = inputTensorsOf(champion);
  if (tensors.length === slots.length && tensors.every(({ name, width }) => fits(slotOf(name), width))) {
    const typed = inputs.map((input) =>
      withDtype(input, slotOf(input.tensor ?? runtime.input_tensor ?? input.name)?.dtype),
    );
    return {
      inputs: typed,
      ...(runtime.input_tensor === undefined ? {} : { inputTensor: runtime.input_tensor }),
    };
  }
  const plain = inputs.map((input): ModelInput => ({ ...input, tensor: undefined }));
  const [only, ...more] = slots;
  const width = inputs.reduce((sum, { shape }) => sum + widthOf(shape), 0);
  if (only !== undefined && more.length === 0 && fits(only, width)) {
    return { inputs: plain.map((input) => withDtype(input, only.dtype)), inputTensor: only.name };
  }
  if (
    slots.length === inputs.length &&
    inputs.every(({ name, shape }) => fits(slotOf(name), widthOf(shape)))
  ) {
    return { inputs: plain.map((input) => withDtype(input, slotOf(input.name)?.dtype)) };
  }
  const has = slots.slice(0, 5).map(({ name, dtype, inner }) =>
    shapeText({
      name,
      dtype,
      shape: inner === undefined ? [] : ['batch', ...inner.map((size) => size ?? '?')],
    }),
  );
  throw refused(
    `it takes ${slots.length === 1 ? 'the input' : `${slots.length} inputs:`} ${has.join(', ')}${slots.length > 5 ? ', …' : ''}, and ${champion.name} has ${inputs.length} inputs: ${inputs
      .slice(0, 5)
      .map(({ name }) => name)
      .join(
        ', ',
      )}${inputs.length > 5 ? ', …' : ''}. Export it with one matrix of ${width} columns (with skl2onnx: initial_types=[('features', FloatTensorType([None, ${width}]))]), or with an input of that name for each`,
  );
}

function fits(slot: InputSlot | undefined, width: number): boolean {
  if (slot === undefined) return false;
  if (slot.inner === undefined) return true;
  if (width === 1 && isScalar(slot)) return true;
  return slot.inner.includes(undefined) || widthOf(slot.inner.map((size) => size ?? 1)) === width;
}

/** Gives an input the type of its tensor. Text stays text, and numbers stay numbers. */
function withDtype(input: ModelInput, dtype: Dtype | undefined): ModelInput {
  if (dtype === undefined || dtype === input.dtype) return input;
  const [before, now] = [kindOf(input.dtype), kindOf(dtype)];
  if ((before === 'string') !== (now === 'string')) {
    throw refused(
      `its input for ${input.name} is ${dtype}, and that of the other versions is ${input.dtype}: events have ${before === 'string' ? 'text' : 'numbers'} there. Export it with that type`,
    );
  }
  const typed: ModelInput = { ...input, dtype };
  const wholes = dtype.includes('int');
  return wholes && input.missing === 'nan' ? { ...typed, missing: 'refuse' } : typed;
}

/** Returns whether rows have a value for each input. Where a graph may take NaN, it may be missing. */
export function areRows(rows: readonly (readonly Feature[])[], inputs: readonly ModelInput[]): boolean {
  const lenient = inputs.map((input): ModelInput =>
    isFloat(input.dtype) ? { missing: 'nan', ...input } : input,
  );
  const encoder = new InputEncoder(lenient);
  return rows.length > 0 && rows.every((row) => !(encoder.encode(row) instanceof MillraceError));
}

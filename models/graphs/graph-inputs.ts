import { type Dtype, dtypes } from '../tensors.js';
import { type Graph, type GraphTensor, refused } from './read-graph.js';

/** An input tensor of a graph, for which values have to be found. */
export interface InputSlot {
  name: string;
  dtype: Dtype;
  /**
   * Dimensions after the batch; undefined where the graph leaves one open. Undefined: it says nothing at all.
   */
  inner: (number | undefined)[] | undefined;
}

/**
 * Returns the inputs of a graph.
 *
 * @throws MillraceError `MODEL_REFUSED` for a graph without inputs, a fixed batch, sequences, and dtypes that
 *   onnxruntime-node does not have.
 */
export function inputSlots({ inputs }: Pick<Graph, 'inputs'>): InputSlot[] {
  if (inputs.length === 0) {
    throw refused(
      'it has no inputs, so it gives every event the same score. Export the model with its features as inputs',
    );
  }
  return inputs.map((input) => {
    const { name, shape } = input;
    const dtype = dtypes.find((each) => each === input.dtype);
    if (input.dtype === undefined) {
      throw refused(
        `its input ${name} is a sequence or a map. Inputs have to be tensors: export it with one tensor for the features or one for each`,
      );
    }
    if (dtype === undefined) {
      throw refused(
        `its input ${name} is ${input.dtype}. Inputs are ${dtypes.join(', ')}: add a Cast, or export it with one of them`,
      );
    }
    const [batch] = shape;
    if (typeof batch === 'number' && batch > 0) {
      throw refused(
        `its input ${shapeText(input)} takes exactly ${batch} ${batch === 1 ? 'row' : 'rows'} per call. Export it with a dynamic batch dimension: [None, …] in skl2onnx and tf2onnx, dynamic_axes={'${name}': {0: 'batch'}} or dynamic_shapes in torch.onnx.export`,
      );
    }
    const inner =
      shape.length === 0
        ? undefined
        : shape.slice(1).map((size) => (typeof size === 'number' && size > 0 ? size : undefined));
    if (inner !== undefined && inner.length > 1 && inner.includes(undefined)) throw dynamic(input);
    return { name, dtype, inner };
  });
}

/** Whether an input is a column or a matrix of them, and no tensor with a shape of its own. */
export function isFlat({ inner }: InputSlot): boolean {
  return inner === undefined || inner.length <= 1;
}

/** Whether an input is one value per row. */
export function isScalar({ inner }: InputSlot): boolean {
  return inner === undefined || inner.length === 0 || (inner.length === 1 && inner[0] === 1);
}

/** Error of an input of unknown size. */
export function dynamic(input: Pick<GraphTensor, 'name' | 'shape' | 'dtype'>): Error {
  return refused(
    `its input ${shapeText(input)} has a dimension without a size, besides the batch. Export it with a fixed size for each dimension but the first, such as [None, 24]`,
  );
}

/** Writes a tensor as `window float32 [batch, 1, 24]`. */
export function shapeText({ name, dtype, shape }: Pick<GraphTensor, 'name' | 'shape' | 'dtype'>): string {
  if (dtype === undefined) return `${name} (a sequence or map)`;
  if (shape.length === 0) return `${name} ${dtype}`;
  const sizes = shape.map((size, at) =>
    typeof size === 'number' && size > 0 ? size : at === 0 ? 'batch' : '?',
  );
  return `${name} ${dtype} [${sizes.join(', ')}]`;
}

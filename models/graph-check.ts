import type { InferenceSession } from 'onnxruntime-node';
import type { ModelManifest } from './manifest.js';
import type { ZipMap } from './onnx-file.js';
import { type Dtype, type InputTensor, inputTensorsOf, isFloat } from './tensors.js';

type Value = InferenceSession.ValueMetadata;
type TensorValue = Extract<Value, { isTensor: true }>;

/** The inputs and outputs of an open graph. */
export interface GraphTensors {
  inputs: readonly Value[];
  /** With the tensors before ZipMaps. */
  outputs: readonly Value[];
  /** By output name. */
  zipMaps: ReadonlyMap<string, ZipMap>;
}

const dynamicBatch =
  'Export it with a dynamic first dimension (torch.onnx.export: dynamic_axes={"<name>": {0: "batch"}} for each input and output; skl2onnx: FloatTensorType([None, <features>]))';

/**
 * Returns what in a graph does not fit its model.json: what the graph has, what model.json says, and what to
 * change. Sizes that the graph leaves open are checked by running the golden rows.
 */
export function graphMisfits(
  manifest: Pick<ModelManifest, 'inputs' | 'output' | 'outputs' | 'runtime'>,
  graph: GraphTensors,
): string[] {
  const tensors = inputTensorsOf(manifest);
  return [...inputMisfits(tensors, graph.inputs), ...outputMisfits(manifest, graph)];
}

function inputMisfits(tensors: readonly InputTensor[], given: readonly Value[]): string[] {
  const missing = tensors
    .filter(({ name }) => given.every((value) => value.name !== name))
    .map(
      ({ name }) =>
        `it has no input ${name}; its inputs are ${list(given)}. Name one of them as input_tensor, or as the tensor of an input, in model.json`,
    );
  const misfits = given.flatMap((value): string[] => {
    const tensor = tensors.find(({ name }) => name === value.name);
    if (tensor === undefined) {
      return [
        `no input in model.json fills its input ${describe(value)}. Add one with that tensor, or export the graph without it`,
      ];
    }
    const misfit = value.isTensor ? typeMisfit(tensor, value) : notATensor(value);
    return misfit === undefined ? [] : [misfit];
  });
  return [...missing, ...misfits];
}

function notATensor({ name }: Value): string {
  return `its input ${name} is a sequence, a map or optional, and only tensors can be filled. Export it with a tensor instead`;
}

function typeMisfit(tensor: InputTensor, value: TensorValue): string | undefined {
  const { dtype, columns } = tensor;
  if (value.type !== dtype) {
    const where = columns.length > 1 ? 'input_dtype, or dtype of its inputs,' : 'dtype';
    return `its input ${describe(value)} is not ${dtype}, as model.json says. Set ${where} to ${value.type}, or export the graph with ${dtype}`;
  }
  const [batch, ...inner] = value.shape;
  // Either a scalar or of an unknown rank, which onnxruntime does not tell apart.
  if (batch === undefined) return undefined;
  if (typeof batch === 'number' && batch > 0) {
    return `its input ${describe(value)} takes exactly ${batch} row${batch === 1 ? '' : 's'} per call. ${dynamicBatch}`;
  }
  return columns.length > 1 ? matrixMisfit(tensor, value, inner) : shapeMisfit(tensor, value, inner);
}

type Dimensions = TensorValue['shape'];

/** Checks the graph's side of several inputs in one tensor, `[batch, width]`. */
function matrixMisfit(
  { columns, width }: InputTensor,
  value: TensorValue,
  inner: Dimensions,
): string | undefined {
  if (fits(inner, [width])) return undefined;
  const own = `model.json has ${width} columns in ${columns.length} inputs for it`;
  const [size] = inner;
  if (inner.length === 1) {
    return `its input ${describe(value)} takes ${size} features, but ${own}. List the ${size} inputs of the graph, or export it with ${width}`;
  }
  return `its input ${describe(value)} is no matrix, but ${own}. Give it a single input with a shape`;
}

function shapeMisfit(
  { shape, width }: InputTensor,
  value: TensorValue,
  inner: Dimensions,
): string | undefined {
  if (shape !== undefined) {
    return fits(inner, shape)
      ? undefined
      : `its input ${describe(value)} does not take the shape [${shape.join(', ')}] of model.json. Set "shape" to ${shapeOf(inner)}`;
  }
  if (inner.length === 0 || fits(inner, [width])) return undefined;
  const advice = `Give this input "shape": ${shapeOf(inner)}`;
  const columns = inner.length === 1 ? `, or list ${inner[0]} inputs with the tensor ${value.name}` : '';
  return `its input ${describe(value)} takes more than the single number of model.json. ${advice}${columns}`;
}

function fits(inner: Dimensions, shape: readonly number[]): boolean {
  return inner.length === shape.length && inner.every((size, index) => isOpen(size) || size === shape[index]);
}

/** A dimension that the graph does not fix is a name, or empty. */
function isOpen(size: number | string): boolean {
  return typeof size === 'string' || size <= 0;
}

/** Returns what `shape` has to be, with a number to choose for each open dimension. */
function shapeOf(inner: Dimensions): string {
  const sizes = inner.map((size) => (isOpen(size) ? `<size of ${nameOf(size)}>` : String(size)));
  const open = inner.some(isOpen) ? ', with the size that each event has' : '';
  return `[${sizes.join(', ')}]${open}`;
}

function nameOf(size: number | string): string {
  return typeof size === 'string' && size !== '' ? size : 'the dynamic dimension';
}

function outputMisfits(
  { output, outputs = [], runtime }: Pick<ModelManifest, 'output' | 'outputs' | 'runtime'>,
  graph: GraphTensors,
): string[] {
  const main = mainMisfit(output, runtime, graph);
  const label = runtime.label_tensor === undefined ? undefined : labelMisfit(runtime.label_tensor, graph);
  const misfits = outputs.map(({ name, tensor = name, dtype, classes }) => {
    const value = findTensor(tensor, graph);
    return typeof value === 'string'
      ? value
      : (dtypeMisfit(value, dtype) ?? classMisfit(tensor, value, classes, graph));
  });
  return [main, label, ...misfits].filter((each) => each !== undefined);
}

function mainMisfit(
  { dtype, classes }: ModelManifest['output'],
  { output_tensor: name, output_column: column }: ModelManifest['runtime'],
  graph: GraphTensors,
): string | undefined {
  const value = findTensor(name, graph);
  if (typeof value === 'string') return value;
  if (value.type === 'string') {
    return `its output ${describe(value)} is text, but the main output gives the score: a number. Use it as label_tensor, and an output with numbers as output_tensor; its outputs are ${list(graph.outputs)}`;
  }
  const size = value.shape[1];
  if (
    column !== undefined &&
    value.shape.length === 2 &&
    typeof size === 'number' &&
    size > 0 &&
    column >= size
  ) {
    return `its output ${describe(value)} has no column ${column}. Set output_column to a number below ${size}`;
  }
  return dtypeMisfit(value, dtype) ?? classMisfit(name, value, classes, graph);
}

function labelMisfit(name: string, graph: GraphTensors): string | undefined {
  const value = findTensor(name, graph);
  if (typeof value === 'string') return value;
  if (value.shape.slice(1).every((size) => isOpen(size) || size === 1)) return undefined;
  return `its output ${describe(value)} has more than one label for each row. Name an output [batch] as label_tensor`;
}

/** @returns the tensor with the values of an output, or why there is none. */
function findTensor(name: string, { outputs, zipMaps }: GraphTensors): TensorValue | string {
  const zipped = zipMaps.get(name)?.tensor;
  const value = outputs.find((each) => each.name === (zipped ?? name));
  if (value === undefined) {
    return `it has no output ${name}; its outputs are ${list(outputs)}. Name one of them in model.json`;
  }
  if (value.isTensor) return value;
  return `its output ${name} is a sequence or a map that no ZipMap makes. Export the graph with a tensor as this output (skl2onnx: options={'zipmap': False})`;
}

function dtypeMisfit(value: TensorValue, dtype: Dtype): string | undefined {
  // Both are read as numbers; earlier releases did not compare them.
  if (value.type === dtype || (isFloat(dtype) && isFloat(value.type as Dtype))) return undefined;
  return `its output ${describe(value)} is not ${dtype}, as model.json says. Set its dtype to ${value.type}, or export the graph with ${dtype}`;
}

function classMisfit(
  name: string,
  value: TensorValue,
  classes: readonly string[] | undefined,
  { zipMaps }: GraphTensors,
): string | undefined {
  if (classes === undefined) return undefined;
  const own = zipMaps.get(name)?.classes ?? [];
  if (own.length > 0 && own.join('\n') !== classes.join('\n')) {
    return `its output ${name} has the classes ${own.join(', ')}, but model.json names ${classes.join(', ')}. Name the classes of the graph, in their order`;
  }
  const [, columns = 0, ...more] = value.shape;
  if (value.shape.length === 0 || (more.length === 0 && isOpen(columns))) return undefined;
  if (more.length === 0 && columns === classes.length) return undefined;
  const count = value.shape.length === 1 ? 1 : value.shape.slice(1).join(' × ');
  return `its output ${describe(value)} has ${count} column${count === 1 ? '' : 's'}, but model.json names ${classes.length} classes: ${classes.join(', ')}. Name one class for each column`;
}

function list(values: readonly Value[]): string {
  return values.map(describe).join(', ') || 'none';
}

function describe(value: Value): string {
  if (!value.isTensor) return `${value.name} (no tensor)`;
  if (value.shape.length === 0) return `${value.name} (${value.type})`;
  const sizes = value.shape.map((size, index) => (isOpen(size) ? openName(size, index) : String(size)));
  return `${value.name} (${value.type} [${sizes.join(', ')}])`;
}

function openName(size: number | string, index: number): string {
  if (typeof size === 'string' && size !== '') return size;
  return index === 0 ? 'batch' : '?';
}

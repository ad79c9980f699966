import { MillraceError } from '../platform/errors.js';
import {
  bytes,
  concat,
  fields,
  integersOf,
  invalid,
  messages,
  text,
  texts,
  varintField,
} from './onnx-messages.js';

/** Field numbers of onnx.proto (`ModelProto`, `GraphProto`, …) that are used here. */
const model = { graph: 7, opsetImport: 8 } as const;
const opset = { domain: 1, version: 2 } as const;
const graph = { node: 1, initializer: 5, output: 12 } as const;
const node = { input: 1, output: 2, opType: 4, attribute: 5 } as const;
const attribute = { name: 1, ints: 8, strings: 9 } as const;
const tensor = {
  dataType: 2,
  stringData: 6,
  int64Data: 7,
  name: 8,
  rawData: 9,
  externalData: 13,
  dataLocation: 14,
} as const;
const entry = { key: 1, value: 2 } as const;
const valueInfo = { name: 1, type: 2 } as const;
const type = { tensorType: 1 } as const;
const tensorType = { elemType: 1 } as const;
const float = 1;
const int64 = 7;

type Message = 'model' | 'graph' | 'node' | 'attribute' | 'function' | 'training' | 'sparse' | 'tensor';

/**
 * All paths from a model to a tensor, by field number (onnx.proto): initializers, constants and lists in
 * attributes of nodes, graphs in nodes, sparse tensors, functions and their defaults, and training info.
 */
const waysToTensors: Record<Message, Readonly<Record<number, Message>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  function: { 7: 'node', 11: 'attribute' },
  training: { 1: 'graph', 2: 'graph' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
};

/** Default recursion limit of Protocol Buffers parsers. */
const maxDepth = 100;

/**
 * Returns the required operator sets by domain (`ai.onnx` for the standard ones).
 *
 * @throws MillraceError `ONNX_INVALID`.
 */
export function opsetsOf(onnx: Uint8Array): Record<string, number> {
  return Object.fromEntries(
    messages(onnx, model.opsetImport).map((message) => [
      text(message, opset.domain) || 'ai.onnx',
      Number(fields(message).find(({ number }) => number === opset.version)?.value ?? 1),
    ]),
  );
}

/**
 * Returns the names of files next to the model that hold its external tensors.
 *
 * @throws MillraceError `ONNX_INVALID`.
 */
export function externalFilesOf(onnx: Uint8Array): string[] {
  const locations = new Set<string>();
  changeTensors(onnx, (each) => {
    const where = external(each);
    if (where !== undefined) locations.add(where.location);
    return each;
  });
  return [...locations];
}

/**
 * Embeds all external tensors in the model, so that one digest covers it.
 *
 * @param files - the content of each of {@link externalFilesOf}.
 * @throws MillraceError `ONNX_INVALID` if a file is too short.
 */
export function withWeightsInside(onnx: Uint8Array, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  return changeTensors(onnx, (each) => {
    const where = external(each);
    if (where === undefined) return each;
    const file = files.get(where.location);
    const end = where.length === undefined ? file?.length : where.offset + where.length;
    const fits = end !== undefined && where.offset >= 0 && where.offset <= end;
    if (file === undefined || !fits || end > file.length) {
      throw invalid(`its weights ${text(each, tensor.name)} are incomplete in the file ${where.location}`);
    }
    const kept = fields(each).filter(
      ({ number }) => number !== tensor.externalData && number !== tensor.dataLocation,
    );
    return concat([...kept.map(({ raw }) => raw), bytes(tensor.rawData, file.subarray(where.offset, end))]);
  });
}

/**
 * Rejects a model with external tensors. onnxruntime would read them from a file below the working directory,
 * or from a memory address, as the graph says, and the digest would not cover them.
 *
 * @throws MillraceError `MODEL_REFUSED`, `ONNX_INVALID`.
 */
export function requireWeightsInside(onnx: Uint8Array): void {
  // The ORT format (FlatBuffers with the file identifier ORTM) may also have external tensors, and is not
  // supported.
  if (Buffer.from(onnx.subarray(4, 8)).toString('latin1') === 'ORTM') {
    throw invalid('it is in onnxruntime’s own format (.ort)');
  }
  const [elsewhere] = externalFilesOf(onnx);
  if (elsewhere === undefined) return;
  throw new MillraceError(
    'MODEL_REFUSED',
    `Its weights are in another file, ${JSON.stringify(elsewhere)}. Save the model as one file.`,
  );
}

/** What a ZipMap reads: the tensor before it, and the label of each of its columns. */
export interface ZipMap {
  /** Name of the probabilities, float32 `[batch, classes]`. */
  tensor: string;
  /** Labels in the order of the columns. Whole numbers as text. */
  classes: string[];
}

/**
 * Returns the ZipMaps by their output names. Converters end the graph of a classifier with this node, which
 * turns probabilities into a list of maps.
 */
export function zipMapsOf(onnx: Uint8Array): Map<string, ZipMap> {
  const zipMaps = nodesOf(onnx).filter((each) => text(each, node.opType) === 'ZipMap');
  return new Map(
    zipMaps.map((each) => [
      text(each, node.output),
      { tensor: text(each, node.input), classes: attributeLabels(each)[0] ?? [] },
    ]),
  );
}

/**
 * Returns the lists of class labels in a graph: the attributes of its classifiers, and the constants from
 * which it takes the label of a row (`ArrayFeatureExtractor`). Whole numbers are text.
 *
 * @throws MillraceError `ONNX_INVALID`.
 */
export function classLabelsOf(onnx: Uint8Array): string[][] {
  const nodes = nodesOf(onnx);
  const constants = new Map(
    messages(onnx, model.graph)
      .flatMap((each) => messages(each, graph.initializer))
      .map((each) => [text(each, tensor.name), each]),
  );
  const taken = nodes.flatMap((each) => {
    if (text(each, node.opType) !== 'ArrayFeatureExtractor') return [];
    const constant = constants.get(text(each, node.input));
    return constant === undefined ? [] : [tensorLabels(constant)];
  });
  return [...nodes.flatMap(attributeLabels), ...taken].filter((labels) => labels.length > 0);
}

function nodesOf(onnx: Uint8Array): Uint8Array[] {
  return messages(onnx, model.graph).flatMap((each) => messages(each, graph.node));
}

/**
 * Operators name the attribute differently: `classlabels_ints`, `classlabels_int64s`, `classlabels_strings`.
 */
function attributeLabels(each: Uint8Array): string[][] {
  return messages(each, node.attribute)
    .filter((one) => text(one, attribute.name).startsWith('classlabels_'))
    .map((one) => [...integersOf(one, attribute.ints).map(String), ...texts(one, attribute.strings)])
    .filter((labels) => labels.length > 0);
}

function tensorLabels(each: Uint8Array): string[] {
  const labels = [...integersOf(each, tensor.int64Data).map(String), ...texts(each, tensor.stringData)];
  const [raw] = messages(each, tensor.rawData);
  const isInt64 = fields(each).some(({ number, value }) => number === tensor.dataType && value === int64);
  if (labels.length > 0 || raw === undefined || !isInt64) return labels;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Array.from({ length: Math.floor(raw.length / 8) }, (_, at) =>
    String(view.getBigInt64(at * 8, true)),
  );
}

/** Adds an internal float32 tensor to the outputs of a model, unless it is one. */
export function withFloatOutput(onnx: Uint8Array, name: string): Uint8Array {
  const outputs = messages(onnx, model.graph).flatMap((each) => messages(each, graph.output));
  if (outputs.some((each) => text(each, valueInfo.name) === name)) return onnx;
  const isFloat = bytes(valueInfo.type, bytes(type.tensorType, varintField(tensorType.elemType, float)));
  const output = concat([bytes(valueInfo.name, new TextEncoder().encode(name)), isFloat]);
  // Parsers merge a repeated message and concatenate its repeated fields (Protocol Buffers, "Encoding").
  return concat([onnx, bytes(model.graph, bytes(graph.output, output))]);
}

/** Returns the location of an external tensor. The location `EXTERNAL` alone counts too. */
function external(
  each: Uint8Array,
): { location: string; offset: number; length: number | undefined } | undefined {
  const parts = fields(each);
  const isExternal = parts.some(({ number, value }) => number === tensor.dataLocation && value !== 0);
  const entries = messages(each, tensor.externalData);
  if (!isExternal && entries.length === 0) return undefined;
  const given = new Map(entries.map((one) => [text(one, entry.key), text(one, entry.value)]));
  const length = given.get('length');
  return {
    location: given.get('location') ?? '',
    offset: Number(given.get('offset') ?? 0),
    length: length === undefined ? undefined : Number(length),
  };
}

/** Maps each tensor in a message. Returns the same message if nothing changed. */
function changeTensors(
  message: Uint8Array,
  change: (each: Uint8Array) => Uint8Array,
  of: Message = 'model',
  depth = 0,
): Uint8Array {
  if (of === 'tensor') return change(message);
  if (depth > maxDepth) throw invalid(`its graphs are nested more than ${maxDepth} messages deep`);
  const ways = waysToTensors[of];
  let isChanged = false;
  const parts = fields(message).map(({ number, value, raw }) => {
    const next = ways[number];
    if (next === undefined || typeof value === 'number') return raw;
    const changed = changeTensors(value, change, next, depth + 1);
    if (changed === value) return raw;
    isChanged = true;
    return bytes(number, changed);
  });
  return isChanged ? concat(parts) : message;
}

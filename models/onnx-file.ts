import { MillraceError } from '../platform/errors.js';

/** A field of a protocol-buffers message: a number for varints, bytes for everything that has a length. */
interface Field {
  number: number;
  value: number | Uint8Array;
  /** The field as it stands in the message, tag included. */
  raw: Uint8Array;
}

/** Field numbers of onnx.proto (ONNX's `ModelProto`, `GraphProto`, …), as far as they are used here. */
const model = { graph: 7, opsetImport: 8 } as const;
const opset = { domain: 1, version: 2 } as const;
const graph = { node: 1, output: 12 } as const;
const node = { input: 1, output: 2, opType: 4 } as const;
const tensor = { name: 8, rawData: 9, externalData: 13, dataLocation: 14 } as const;
const entry = { key: 1, value: 2 } as const;
const valueInfo = { name: 1, type: 2 } as const;
const type = { tensorType: 1 } as const;
const tensorType = { elemType: 1 } as const;
const float = 1;

type Message = 'model' | 'graph' | 'node' | 'attribute' | 'function' | 'training' | 'sparse' | 'tensor';

/**
 * Every way from a model to a tensor, by field number (onnx.proto): initializers, constants and lists in attributes of
 * nodes, graphs inside of nodes, sparse tensors, functions and their defaults, and what training starts from.
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

/** Messages inside messages that Protocol Buffers' own readers take (their default recursion limit). */
const maxDepth = 100;

/**
 * The operator sets that a model needs, by domain (`ai.onnx` for ONNX's own).
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
 * Files beside the model that hold tensors of it, as ONNX exporters write them, wherever in the model the tensors are.
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
 * The model with all its tensors in it, so that one digest covers it.
 *
 * @param files - the content of each of {@link externalFilesOf}.
 * @throws MillraceError `ONNX_INVALID` when a file is too short for what the model wants of it.
 */
export function withWeightsInside(onnx: Uint8Array, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  return changeTensors(onnx, (each) => {
    const where = external(each);
    if (where === undefined) return each;
    const file = files.get(where.location);
    const end = where.length === undefined ? file?.length : where.offset + where.length;
    const fits = end !== undefined && where.offset >= 0 && where.offset <= end;
    if (file === undefined || !fits || end > file.length) {
      throw invalid(`its weights ${text(each, tensor.name)} are not whole in the file ${where.location}`);
    }
    const kept = fields(each).filter(
      ({ number }) => number !== tensor.externalData && number !== tensor.dataLocation,
    );
    return concat([...kept.map(({ raw }) => raw), bytes(tensor.rawData, file.subarray(where.offset, end))]);
  });
}

/**
 * Refuses a model that has any tensor in another file. onnxruntime would read that file from wherever the graph says,
 * below the working directory of the process, or from an address in memory; and no digest would cover it.
 *
 * @throws MillraceError `MODEL_REFUSED`, `ONNX_INVALID`.
 */
export function requireWeightsInside(onnx: Uint8Array): void {
  // onnxruntime's own format (FlatBuffers with the file identifier ORTM) has tensors in other files, too, and is not read here.
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

/**
 * What goes into each ZipMap: converters of classifiers end their graph with that node, which makes of a tensor of
 * probabilities, `[batch, classes]`, a list of maps that no other runtime reads.
 *
 * @returns the tensor that a ZipMap takes, by the name of the output it gives.
 */
export function zipMapsOf(onnx: Uint8Array): Map<string, string> {
  const nodes = messages(onnx, model.graph).flatMap((each) => messages(each, graph.node));
  const zipMaps = nodes.filter((each) => text(each, node.opType) === 'ZipMap');
  return new Map(zipMaps.map((each) => [text(each, node.output), text(each, node.input)]));
}

/** The model with one more output: a float32 tensor that it computes inside. */
export function withFloatOutput(onnx: Uint8Array, name: string): Uint8Array {
  const isFloat = bytes(valueInfo.type, bytes(type.tensorType, varintField(tensorType.elemType, float)));
  const output = concat([bytes(valueInfo.name, new TextEncoder().encode(name)), isFloat]);
  // Readers merge a message that comes twice, and its repeated fields add up (Protocol Buffers, "Encoding", last one wins).
  return concat([onnx, bytes(model.graph, bytes(graph.output, output))]);
}

/** Where a tensor's content is, unless it is in the model. The location alone (`EXTERNAL`) counts, too. */
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

/** The message with each tensor in it changed; the very same message if none is. */
function changeTensors(
  message: Uint8Array,
  change: (each: Uint8Array) => Uint8Array,
  of: Message = 'model',
  depth = 0,
): Uint8Array {
  if (of === 'tensor') return change(message);
  if (depth > maxDepth) throw invalid(`it has graphs in graphs, more than ${maxDepth} messages deep`);
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

function messages(message: Uint8Array, wanted: number): Uint8Array[] {
  return fields(message).flatMap(({ number, value }) =>
    number === wanted && typeof value !== 'number' ? [value] : [],
  );
}

/** The first field of this number as text; empty when there is none. */
function text(message: Uint8Array, wanted: number): string {
  const [first] = messages(message, wanted);
  return first === undefined ? '' : new TextDecoder().decode(first);
}

/** Protocol Buffers, "Encoding": each field is a tag (number and wire type), then a varint, 4 or 8 bytes, or a length and so many bytes. */
function fields(message: Uint8Array): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined || factor > 2 ** 63) throw invalid('it ends in the middle of a field');
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const start = at;
    const tag = varint();
    // Other readers keep the lower 32 bits of a longer one, and so would see another field here.
    if (tag > 0xffff_ffff) throw invalid('it has a field of an impossible number');
    const wireType = tag & 7;
    let value: Field['value'] = 0;
    if (wireType === 0) value = varint();
    else {
      const length = wireType === 2 ? varint() : { 1: 8, 5: 4 }[wireType];
      if (length === undefined) throw invalid(`it has a field of the unknown wire type ${wireType}`);
      if (length > message.length - at) throw invalid('it ends in the middle of a field');
      value = message.subarray(at, at + length);
      at += length;
    }
    found.push({ number: Math.floor(tag / 8), value, raw: message.subarray(start, at) });
  }
  return found;
}

function bytes(number: number, content: Uint8Array): Uint8Array {
  return concat([varintOf(number * 8 + 2), varintOf(content.length), content]);
}

function varintField(number: number, value: number): Uint8Array {
  return concat([varintOf(number * 8), varintOf(value)]);
}

function varintOf(value: number): Uint8Array {
  const digits: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...digits, rest]);
    digits.push((rest % 128) + 128);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

function invalid(problem: string): MillraceError {
  return new MillraceError(
    'ONNX_INVALID',
    `This is no whole ONNX model: ${problem}. Export it or copy it again.`,
  );
}

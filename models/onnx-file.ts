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
const graph = { node: 1, initializer: 5, output: 12 } as const;
const node = { input: 1, output: 2, opType: 4 } as const;
const tensor = { name: 8, rawData: 9, externalData: 13, dataLocation: 14 } as const;
const entry = { key: 1, value: 2 } as const;
const valueInfo = { name: 1, type: 2 } as const;
const type = { tensorType: 1 } as const;
const tensorType = { elemType: 1 } as const;
const float = 1;

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

/** Files beside the model that hold its larger weights, as ONNX exporters write them. */
export function externalFilesOf(onnx: Uint8Array): string[] {
  const initializers = messages(onnx, model.graph).flatMap((each) => messages(each, graph.initializer));
  const locations = initializers.flatMap((each) => external(each)?.location ?? []);
  return [...new Set(locations)];
}

/**
 * The model with all its weights in it, so that one digest covers it.
 *
 * @param files - the content of each of {@link externalFilesOf}.
 * @throws MillraceError `ONNX_INVALID` when a file is too short for what the model wants of it.
 */
export function withWeightsInside(onnx: Uint8Array, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  return replace(onnx, model.graph, (graphBytes) =>
    replace(graphBytes, graph.initializer, (initializer) => {
      const where = external(initializer);
      if (where === undefined) return initializer;
      const file = files.get(where.location);
      const end = where.length === undefined ? file?.length : where.offset + where.length;
      const fits = end !== undefined && where.offset >= 0 && where.offset <= end;
      if (file === undefined || !fits || end > file.length) {
        throw invalid(
          `its weights ${text(initializer, tensor.name)} are not whole in the file ${where.location}`,
        );
      }
      const kept = fields(initializer).filter(
        ({ number }) => number !== tensor.externalData && number !== tensor.dataLocation,
      );
      return concat([...kept.map(({ raw }) => raw), bytes(tensor.rawData, file.subarray(where.offset, end))]);
    }),
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

function external(
  initializer: Uint8Array,
): { location: string; offset: number; length: number | undefined } | undefined {
  const entries = messages(initializer, tensor.externalData);
  if (entries.length === 0) return undefined;
  const given = new Map(entries.map((each) => [text(each, entry.key), text(each, entry.value)]));
  const length = given.get('length');
  return {
    location: given.get('location') ?? '',
    offset: Number(given.get('offset') ?? 0),
    length: length === undefined ? undefined : Number(length),
  };
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

/** The message with the content of each field of a number changed. */
function replace(
  message: Uint8Array,
  wanted: number,
  change: (content: Uint8Array) => Uint8Array,
): Uint8Array {
  return concat(
    fields(message).map(({ number, value, raw }) =>
      number === wanted && typeof value !== 'number' ? bytes(number, change(value)) : raw,
    ),
  );
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

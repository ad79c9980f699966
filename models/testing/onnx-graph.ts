/** Message fields of onnx.proto by number, to write small graphs. */
export type Fields = readonly (readonly [number: number, value: string | number | Uint8Array])[];

/** Encodes a Protocol Buffers message: numbers as varints, texts and messages with their length. */
export function message(fields: Fields): Uint8Array {
  return Buffer.concat(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'number') return [varint(number * 8), varint(value)];
      const bytes = Buffer.from(value as string);
      return [varint(number * 8 + 2), varint(bytes.length), bytes];
    }),
  );
}

type Attribute =
  | { tensor: Uint8Array }
  | { graph: Uint8Array }
  | { int: number }
  | { ints: number[] }
  | { strings: string[] };

/**
 * Encodes a node: `op` of `inputs` gives `output`, with attributes by name. An operator of another domain has
 * it as a prefix, as in `ai.onnx.ml:ZipMap`.
 */
export function node(
  op: string,
  inputs: readonly string[],
  output: string | readonly string[],
  attributes: Record<string, Attribute> = {},
): Uint8Array {
  const attribute = (name: string, value: Attribute): Uint8Array => {
    if ('tensor' in value) return message([[1, name], [5, value.tensor], [20, 4]]); // prettier-ignore
    if ('graph' in value) return message([[1, name], [6, value.graph], [20, 5]]); // prettier-ignore
    if ('int' in value) return message([[1, name], [3, value.int], [20, 2]]); // prettier-ignore
    if ('ints' in value)
      return message([[1, name], ...value.ints.map((each) => [8, each] as const), [20, 7]]);
    return message([[1, name], ...value.strings.map((each) => [9, each] as const), [20, 8]]);
  };
  const [type = '', domain = ''] = op.split(':').toReversed();
  return message([
    ...inputs.map((input) => [1, input] as const),
    ...[output].flat().map((name) => [2, name] as const),
    [4, type],
    ...Object.entries(attributes).map(([name, value]) => [5, attribute(name, value)] as const),
    [7, domain],
  ]);
}

/** Element types of tensors. */
export const float = 1;
export const uint8 = 2;
export const text = 8;
export const double = 11;
export const int64 = 7;
export const bool = 9;
/** By the name of the type in model.json. */
export const elementTypes = {
  float32: float,
  uint8,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64,
  string: 8,
  bool,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
} as const;

/** Encodes a tensor of numbers, or an external tensor in a file. */
export function tensor(
  type: number,
  dims: readonly number[],
  content: Uint8Array | { location: string; offset: number },
  name = '',
): Uint8Array {
  const entry = (key: string, value: string) => [13, message([[1, key], [2, value]])] as const; // prettier-ignore
  return message([
    ...dims.map((dim) => [1, dim] as const),
    [2, type],
    [8, name],
    ...('location' in content
      ? [
          entry('location', content.location),
          entry('offset', String(content.offset)),
          entry('length', String(dims.reduce((size, dim) => size * dim, 1))),
          [14, 1] as const,
        ]
      : [[9, content] as const]),
  ]);
}

/** Encodes an input or output of a graph. A dimension that is a text is dynamic. */
export function valueInfo(name: string, type: number, dims: readonly (number | string)[]): Uint8Array {
  const shape = message(
    dims.map((dim) => [1, message([typeof dim === 'number' ? [1, dim] : [2, dim]])] as const),
  );
  return message([[1, name], [2, message([[1, message([[1, type], [2, shape]])]])]]); // prettier-ignore
}

export function graph(
  nodes: readonly Uint8Array[],
  inputs: readonly Uint8Array[],
  outputs: readonly Uint8Array[],
  initializers: readonly Uint8Array[] = [],
): Uint8Array {
  return message([
    ...nodes.map((each) => [1, each] as const),
    [2, 'g'],
    ...initializers.map((each) => [5, each] as const),
    ...inputs.map((each) => [11, each] as const),
    ...outputs.map((each) => [12, each] as const),
  ]);
}

/** Encodes an output that is a list of maps, as ZipMap makes it, from texts to float32. */
export function mapInfo(name: string): Uint8Array {
  const number = message([[1, message([[1, float]])]]);
  const map = message([[5, message([[1, elementTypes.string], [2, number]])]]); // prettier-ignore
  return message([[1, name], [2, message([[4, message([[1, map]])]])]]); // prettier-ignore
}

/** Encodes an output that is a list of float32 tensors. */
export function sequenceInfo(name: string): Uint8Array {
  const element = message([[1, message([[1, float]])]]);
  return message([[1, name], [2, message([[4, message([[1, element]])]])]]); // prettier-ignore
}

/** Encodes a model of operator set 17, and 3 of ai.onnx.ml. */
export function modelOf(of: Uint8Array): Uint8Array {
  const classic = message([[1, 'ai.onnx.ml'], [2, 3]]); // prettier-ignore
  return message([[1, 8], [7, of], [8, message([[2, 17]])], [8, classic]]); // prettier-ignore
}

export function int64s(...numbers: readonly (number | bigint)[]): Uint8Array {
  return Buffer.from(BigInt64Array.from(numbers, BigInt).buffer);
}

function varint(number: number): Uint8Array {
  const rest = Math.floor(number / 128);
  return Buffer.from(rest === 0 ? [number] : [(number % 128) + 128, ...varint(rest)]);
}

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

/** Encodes a node: `op` of `inputs`, with attributes by name (a tensor, a graph or an integer). */
export function node(
  op: string,
  inputs: readonly string[],
  output: string,
  attributes: Record<string, { tensor: Uint8Array } | { graph: Uint8Array } | { int: number }> = {},
): Uint8Array {
  const attribute = (name: string, value: object): Uint8Array => {
    if ('tensor' in value) return message([[1, name], [5, value.tensor as Uint8Array], [20, 4]]); // prettier-ignore
    if ('graph' in value) return message([[1, name], [6, value.graph as Uint8Array], [20, 5]]); // prettier-ignore
    return message([[1, name], [3, (value as { int: number }).int], [20, 2]]); // prettier-ignore
  };
  return message([
    ...inputs.map((input) => [1, input] as const),
    [2, output],
    [4, op],
    ...Object.entries(attributes).map(([name, value]) => [5, attribute(name, value)] as const),
  ]);
}

/** Element types of tensors. */
export const float = 1;
export const uint8 = 2;
export const int64 = 7;
export const bool = 9;

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

/** Encodes a model of operator set 17. */
export function modelOf(of: Uint8Array): Uint8Array {
  return message([[1, 8], [7, of], [8, message([[2, 17]])]]); // prettier-ignore
}

export function int64s(...numbers: readonly (number | bigint)[]): Uint8Array {
  return Buffer.from(BigInt64Array.from(numbers, BigInt).buffer);
}

function varint(number: number): Uint8Array {
  const rest = Math.floor(number / 128);
  return Buffer.from(rest === 0 ? [number] : [(number % 128) + 128, ...varint(rest)]);
}

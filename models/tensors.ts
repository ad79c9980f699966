import { toFloat16 } from './float16.js';
import type { ModelInput, ModelManifest } from './manifest.js';

/** Element types of tensors that onnxruntime-node can take and give. */
export const dtypes = [
  'float32',
  'float64',
  'float16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'bool',
  'string',
] as const;

export type Dtype = (typeof dtypes)[number];

/**
 * A value for one input: of an array the elements in row-major order, without nesting. NaN only stands for a
 * missing value.
 */
export type InputValue = number | string | boolean | readonly (number | string | boolean)[];

/** The values of one row, one for each of the manifest's inputs. */
export type ModelRow = readonly InputValue[];

/** The elements of a tensor. float16 as its bits. */
export type TensorData =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | BigUint64Array<ArrayBuffer>
  | string[];

/** One input tensor of a graph, and the inputs of the manifest that fill it. */
export interface InputTensor {
  name: string;
  dtype: Dtype;
  /** Dimensions after the batch. Unset: the one input is a scalar, so that `[batch]` and `[batch, 1]` fit. */
  shape: readonly number[] | undefined;
  /** Elements per row. */
  width: number;
  /** In the order of the tensor's columns. */
  columns: readonly { /** Index in the manifest. */ input: number; width: number }[];
}

const whole = (lowest: number, highest: number) => (value: number) =>
  Number.isInteger(value) && value >= lowest && value <= highest;

/** Whether a number can be an element of a dtype, and what such numbers are called. */
const numberKinds: Partial<Record<Dtype, { fits: (value: number) => boolean; kind: string }>> = {
  float32: { fits: (value) => Number.isFinite(Math.fround(value)), kind: 'a finite 32-bit float' },
  float64: { fits: (value) => Number.isFinite(value), kind: 'a finite number' },
  // From 65,520 numbers round to infinity.
  float16: { fits: (value) => Math.abs(value) < 65_520, kind: 'a finite 16-bit float' },
  int64: { fits: Number.isSafeInteger, kind: 'a whole number within ±(2^53 - 1)' },
  int32: { fits: whole(-(2 ** 31), 2 ** 31 - 1), kind: 'a whole number that fits 32 bits' },
  int16: { fits: whole(-32_768, 32_767), kind: 'a whole number from -32768 to 32767' },
  int8: { fits: whole(-128, 127), kind: 'a whole number from -128 to 127' },
  uint8: { fits: whole(0, 255), kind: 'a whole number from 0 to 255' },
  uint16: { fits: whole(0, 65_535), kind: 'a whole number from 0 to 65535' },
  uint32: { fits: whole(0, 2 ** 32 - 1), kind: 'a whole number from 0 to 4294967295' },
  uint64: { fits: whole(0, Number.MAX_SAFE_INTEGER), kind: 'a whole number from 0 to 2^53 - 1' },
};

/** What the elements of a dtype are: text, true or false, or numbers. */
export function kindOf(dtype: Dtype): 'string' | 'boolean' | 'number' {
  if (dtype === 'string') return 'string';
  return dtype === 'bool' ? 'boolean' : 'number';
}

export function isFloat(dtype: Dtype): boolean {
  return dtype === 'float32' || dtype === 'float64' || dtype === 'float16';
}

/** @returns what `value` should be, or undefined if it can be an element of the dtype. */
export function numberMisfit(value: number, dtype: Dtype): string | undefined {
  const kind = numberKinds[dtype];
  return kind === undefined || kind.fits(value) ? undefined : kind.kind;
}

/** Returns the name of the tensor that an input fills. */
export function tensorOf(
  { name, tensor }: Pick<ModelInput, 'name' | 'tensor'>,
  inputTensor?: string,
): string {
  return tensor ?? inputTensor ?? name;
}

/** Returns the element type of an input's tensor. */
export function elementDtype(input: ModelInput, { input_dtype }: ModelManifest['runtime']): Dtype {
  return input.tensor === undefined && input_dtype !== undefined ? input_dtype : input.dtype;
}

/** Returns the number of elements of an input. */
export function widthOf(shape: readonly number[] | undefined): number {
  return (shape ?? []).reduce((size, dimension) => size * dimension, 1);
}

/** Returns the tensors that the inputs of a manifest fill, in the order of their first inputs. */
export function inputTensorsOf({
  inputs,
  runtime,
}: Pick<ModelManifest, 'inputs' | 'runtime'>): InputTensor[] {
  const groups = new Map<string, { input: number; width: number }[]>();
  for (const [index, input] of inputs.entries()) {
    const name = tensorOf(input, runtime.input_tensor);
    const columns = groups.get(name) ?? [];
    columns.push({ input: index, width: widthOf(input.shape) });
    groups.set(name, columns);
  }
  return Array.from(groups, ([name, columns]) => {
    const first = inputs[columns[0]?.input ?? 0];
    if (first === undefined) throw new Error(`The tensor ${name} has no input.`);
    const width = columns.reduce((sum, column) => sum + column.width, 0);
    const shape = columns.length > 1 ? [width] : first.shape;
    return { name, dtype: elementDtype(first, runtime), shape, width, columns };
  });
}

type Pack = (size: number, rows: readonly ModelRow[], tensor: InputTensor) => TensorData;

const packers: Record<Dtype, Pack> = {
  float32: (size, rows, tensor) => fill(new Float32Array(size), rows, tensor, Number),
  float64: (size, rows, tensor) => fill(new Float64Array(size), rows, tensor, Number),
  float16: (size, rows, tensor) =>
    fill(new Uint16Array(size), rows, tensor, (value) => toFloat16(Number(value))),
  int64: (size, rows, tensor) => fill(new BigInt64Array(size), rows, tensor, (value) => BigInt(value)),
  int32: (size, rows, tensor) => fill(new Int32Array(size), rows, tensor, Number),
  int16: (size, rows, tensor) => fill(new Int16Array(size), rows, tensor, Number),
  int8: (size, rows, tensor) => fill(new Int8Array(size), rows, tensor, Number),
  uint8: (size, rows, tensor) => fill(new Uint8Array(size), rows, tensor, Number),
  uint16: (size, rows, tensor) => fill(new Uint16Array(size), rows, tensor, Number),
  uint32: (size, rows, tensor) => fill(new Uint32Array(size), rows, tensor, Number),
  uint64: (size, rows, tensor) => fill(new BigUint64Array(size), rows, tensor, (value) => BigInt(value)),
  bool: (size, rows, tensor) => fill(new Uint8Array(size), rows, tensor, Number),
  string: (_size, rows, { columns }) =>
    rows.flatMap((row) => columns.flatMap(({ input }) => row[input] as string | string[])),
};

/** Returns the elements of one tensor for rows, row-major. */
export function packRows(tensor: InputTensor, rows: readonly ModelRow[]): TensorData {
  return packers[tensor.dtype](rows.length * tensor.width, rows, tensor);
}

type Element = number | string | boolean;

function fill<Data extends { [index: number]: number | bigint }>(
  data: Data,
  rows: readonly ModelRow[],
  { columns, width }: InputTensor,
  convert: (value: Element) => Data[number],
): Data {
  let at = 0;
  for (const row of rows) {
    // The usual matrix: all inputs are numbers, one column each.
    if (data instanceof Float32Array && columns.length === width && width === row.length) {
      data.set(row as readonly number[], at);
      at += width;
      continue;
    }
    for (const { input } of columns) {
      const value = row[input] ?? Number.NaN;
      if (typeof value !== 'object') data[at++] = convert(value);
      else for (const element of value) data[at++] = convert(element);
    }
  }
  return data;
}

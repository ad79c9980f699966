import { MillraceError, messageOf } from '../../platform/errors.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import {
  dropEmptyRecords,
  envelopeTensors,
  type EventTensor,
  eventTensors,
  type Kind,
  setValue,
} from './event-tensors.js';
import { type InferRequest, inferRequestSchema, type InputTensor } from './schemas.js';

const kindOf: ReadonlyMap<string, Kind> = new Map([
  ...['INT8', 'INT16', 'INT32', 'INT64', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'FP16', 'FP32', 'FP64'].map(
    (name) => [name, 'number'] as const,
  ),
  ['BOOL', 'boolean'],
  ['BYTES', 'string'],
]);

/** A refused request, code `INFER_INVALID`. */
export function inferInvalid(message: string): MillraceError {
  return new MillraceError('INFER_INVALID', message);
}

/** @throws MillraceError `INFER_INVALID` */
export function parseInferRequest(body: unknown): InferRequest {
  const result = inferRequestSchema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw inferInvalid(
    `The request is not as the protocol has it: ${issue?.path.join('.')} ${issue?.message}.`,
  );
}

/**
 * Returns the number of rows that a request declares. @throws MillraceError `INFER_INVALID` when its tensors
 * don't agree.
 */
export function rowCount({ inputs }: InferRequest): number {
  const [first] = inputs;
  for (const { name, shape } of inputs) {
    if (shape[0] !== first?.shape[0])
      throw inferInvalid(`Input ${name} has ${shape[0]} rows, input ${first?.name} has ${first?.shape[0]}.`);
  }
  const rows = first?.shape[0] ?? 0;
  if (rows === 0) throw inferInvalid('The inputs have no rows.');
  return rows;
}

/**
 * Returns the events in a request's tensors, as bodies for {@link openEnvelope}.
 *
 * @throws MillraceError `INFER_INVALID` naming the invalid tensor, and the row of an invalid element.
 */
export function toRows(request: InferRequest, contract: RecordSchema): Record<string, unknown>[] {
  const inputs = new Map([...envelopeTensors, ...eventTensors(contract)].map((each) => [each.name, each]));
  const count = rowCount(request);
  const rows: Record<string, unknown>[] = Array.from({ length: count }, () => ({}));
  const seen = new Set<string>();
  for (const tensor of request.inputs) {
    const { name } = tensor;
    const input = inputs.get(name);
    if (input === undefined)
      throw inferInvalid(`There is no input ${name}. There are: ${[...inputs.keys()].join(', ')}.`);
    if (seen.has(name)) throw inferInvalid(`Input ${name} is there twice.`);
    seen.add(name);
    for (const [index, value] of valuesOf(tensor, input, count).entries()) {
      const row = rows[index];
      if (row !== undefined) setValue(row, input, value);
    }
  }
  if (eventTensors(contract).some(({ path }) => path.length > 1))
    for (const row of rows) dropEmptyRecords(row, contract);
  return rows;
}

/** Returns the value of each row. */
function valuesOf(tensor: InputTensor, input: EventTensor, count: number): unknown[] {
  const { name, datatype, parameters, data, shape } = tensor;
  if ((parameters?.binary_data_size ?? undefined) !== undefined || !data)
    throw inferInvalid(
      `Input ${name} has no JSON data. Binary data is not read here: send it with binary_data=False.`,
    );
  const isJson = input.form === 'json' || (input.form === 'list' && datatype === 'BYTES');
  const isText = isJson || (input.isTime === true && datatype === 'BYTES');
  const kind = isText ? 'string' : input.kind;
  if (kindOf.get(datatype) !== kind) {
    const fitting = [...kindOf].filter(([, each]) => each === kind).map(([each]) => each);
    const text =
      input.form === 'list'
        ? ', or BYTES with the JSON of a list in each row'
        : input.isTime === true
          ? ', or BYTES with times as text'
          : '';
    throw inferInvalid(`Input ${name} has the datatype ${datatype}; it takes ${fitting.join(', ')}${text}.`);
  }
  const isNull = isJson ? input.nullable : input.nullableElements;
  const refuse = (row: number, value: unknown): MillraceError =>
    inferInvalid(`Row ${row}, ${name}: ${shown(value)} is no element of a ${datatype} tensor.`);
  const isWrong = (value: unknown): boolean => typeof value !== kind && !(isNull && value === null);
  if (input.form === 'list' && !isJson) {
    checkShape(tensor, input.shape);
    return readLists(tensor, input, { data, count, isWrong, refuse });
  }
  checkShape(tensor, [-1]);
  // Data is flat or nested like the shape; with one element a row that is one level.
  const values = data.length === count ? data.flat() : data;
  if (values.length !== count)
    throw inferInvalid(`Input ${name} has ${values.length} elements, its shape says ${shape[0]}.`);
  const wrong = values.findIndex(isWrong);
  if (wrong !== -1) throw refuse(wrong, values[wrong]);
  return isJson ? values.map((value, row) => (value === null ? null : parseText(name, row, value))) : values;
}

/** @param expected - -1 for any length. */
function checkShape({ name, shape }: InputTensor, expected: readonly number[]): void {
  const own = expected.length === 1 && shape.length === 2 && shape[1] === 1 ? shape.slice(0, 1) : shape;
  const fits =
    own.length === expected.length &&
    expected.every((length, index) => length === -1 || length === own[index]);
  if (fits) return;
  const takes =
    expected.length === 1
      ? 'An input has one element a row: [N] or [N, 1]'
      : `It takes [${expected.map((length, index) => (index === 0 ? 'N' : length === -1 ? '*' : length)).join(', ')}]`;
  throw inferInvalid(`Input ${name} has the shape [${shape.join(', ')}]. ${takes}.`);
}

interface Elements {
  data: readonly unknown[];
  count: number;
  isWrong: (value: unknown) => boolean;
  refuse: (row: number, value: unknown) => MillraceError;
}

/** Reads a list for each row, from data that is flat or nested like the shape. */
function readLists(
  { name, shape }: InputTensor,
  { nullable, nullableElements }: EventTensor,
  { data, count, isWrong, refuse }: Elements,
): unknown[] {
  const lengths = shape.slice(1);
  const width = lengths.reduce((product, length) => product * length, 1);
  // With one element a row, null may be the element of flat data or, nested, in place of the list.
  const isEither = width === 1 && nullableElements;
  const isNested =
    data.length === count &&
    (data.some((each) => Array.isArray(each)) ||
      (nullable && !isEither && data.every((each) => each === null)));
  if (!isNested && data.length !== count * width)
    throw inferInvalid(`Input ${name} has ${data.length} elements, its shape says ${count * width}.`);
  // Lists of no elements would cost as much as their shape says, and no data.
  if (width === 0 && lengths[0] !== 0)
    throw inferInvalid(`Input ${name} has the shape [${shape.join(', ')}]: lists without elements.`);
  const nested = (row: number, value: unknown, [length, ...inner]: number[]): unknown => {
    if (length === undefined) {
      if (isWrong(value)) throw refuse(row, value);
      return value;
    }
    if (!Array.isArray(value) || value.length !== length)
      throw inferInvalid(
        `Row ${row}, ${name}: it is no list of ${length}, as the shape [${shape.join(', ')}] says.`,
      );
    return value.map((each) => nested(row, each, inner));
  };
  let at = 0;
  const flat = (row: number, [length, ...inner]: number[]): unknown => {
    if (length !== undefined) return Array.from({ length }, () => flat(row, inner));
    const value = data[at++];
    if (isWrong(value)) throw refuse(row, value);
    return value;
  };
  return Array.from({ length: count }, (_, row) => {
    if (!isNested) return flat(row, lengths);
    return nullable && data[row] === null ? null : nested(row, data[row], lengths);
  });
}

function parseText(name: string, row: number, text: unknown): unknown {
  try {
    return JSON.parse(String(text)) as unknown;
  } catch (error) {
    throw inferInvalid(
      `Row ${row}, ${name}: an element of this input is JSON text, and ${shown(text)} is none: ${messageOf(error)}.`,
    );
  }
}

/** Formats an element for an error: it may be megabytes long, or nested deeper than a stack. */
function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return JSON.stringify(value).slice(0, 100);
}

import { MillraceError } from '../../platform/errors.js';
import type { AvroType, ContractField, RecordSchema } from '../../schemas/contracts.js';
import { type InferRequest, inferRequestSchema, type InputTensor, type TensorInfo } from './schemas.js';

type Kind = 'number' | 'boolean' | 'string';

const kindOf: ReadonlyMap<string, Kind> = new Map([
  ...['INT8', 'INT16', 'INT32', 'INT64', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'FP16', 'FP32', 'FP64'].map(
    (name) => [name, 'number'] as const,
  ),
  ['BOOL', 'boolean'],
  ['BYTES', 'string'],
]);

const datatypes: Readonly<Record<string, string>> = {
  int: 'INT32',
  long: 'INT64',
  float: 'FP32',
  double: 'FP64',
  boolean: 'BOOL',
};

/** Inputs of every pipeline besides its event's fields: see `processors/events/envelope.ts`. */
const envelopeNames = ['event_id', 'event_time'];

/** A refused request, code `INFER_INVALID`. */
export function inferInvalid(message: string): MillraceError {
  return new MillraceError('INFER_INVALID', message);
}

/** An event's fields as tensors, one element a row. */
export function inputTensors(contract: RecordSchema): TensorInfo[] {
  return contract.fields.map((field) => ({ name: field.name, datatype: datatypeOf(field), shape: [-1] }));
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
    if (shape.length > 2 || (shape.length === 2 && shape[1] !== 1))
      throw inferInvalid(
        `Input ${name} has the shape [${shape.join(', ')}]. An input has one element a row: [N] or [N, 1].`,
      );
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
  const kinds = new Map<string, Kind>([
    ...envelopeNames.map((name) => [name, 'string'] as const),
    ...inputTensors(contract).map(({ name, datatype }) => [name, kindOf.get(datatype) ?? 'string'] as const),
  ]);
  const nullable = new Set([
    ...envelopeNames,
    ...contract.fields
      .filter(({ type }) => Array.isArray(type) && type.includes('null'))
      .map(({ name }) => name),
  ]);
  const count = rowCount(request);
  const rows: Record<string, unknown>[] = Array.from({ length: count }, () => ({}));
  const seen = new Set<string>();
  for (const tensor of request.inputs) {
    const { name } = tensor;
    const kind = kinds.get(name);
    if (kind === undefined)
      throw inferInvalid(`There is no input ${name}. There are: ${[...kinds.keys()].join(', ')}.`);
    if (seen.has(name)) throw inferInvalid(`Input ${name} is there twice.`);
    seen.add(name);
    for (const [index, value] of elements(tensor, kind, count, nullable.has(name)).entries()) {
      const row = rows[index];
      if (row !== undefined) row[name] = value;
    }
  }
  return rows;
}

function elements(tensor: InputTensor, kind: Kind, count: number, isNullable: boolean): unknown[] {
  const { name, datatype, parameters, data } = tensor;
  if ((parameters?.binary_data_size ?? undefined) !== undefined || !data)
    throw inferInvalid(
      `Input ${name} has no JSON data. Binary data is not read here: send it with binary_data=False.`,
    );
  if (kindOf.get(datatype) !== kind) {
    const fitting = [...kindOf].filter(([, each]) => each === kind).map(([each]) => each);
    throw inferInvalid(`Input ${name} has the datatype ${datatype}; it takes ${fitting.join(', ')}.`);
  }
  // Data is flat or nested like the shape; with one element a row that is one level.
  const values = data.length === count ? data.flat() : data;
  if (values.length !== count)
    throw inferInvalid(`Input ${name} has ${values.length} elements, its shape says ${count}.`);
  const wrong = values.findIndex((value) => typeof value !== kind && !(isNullable && value === null));
  if (wrong !== -1)
    throw inferInvalid(
      `Row ${wrong}, ${name}: ${shown(values[wrong])} is no element of a ${datatype} tensor.`,
    );
  return values;
}

/** Formats an element for an error: it may be megabytes long, or nested deeper than a stack. */
function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return JSON.stringify(value).slice(0, 100);
}

function datatypeOf({ type }: ContractField): string {
  const branches: AvroType[] = Array.isArray(type) ? type : [type];
  const branch = branches.find((each) => each !== 'null');
  const name = typeof branch === 'object' && 'type' in branch ? branch.type : branch;
  return datatypes[name as string] ?? 'BYTES';
}

import { type FieldPath, fieldPaths } from '../../schemas/field-paths.js';
import { eventShape, type FieldType, type RecordShape } from '../../schemas/field-types.js';
import type { RecordSchema } from '../../schemas/contracts.js';
import type { TensorInfo } from './schemas.js';

/** What the elements of a tensor are in JSON. */
export type Kind = 'number' | 'boolean' | 'string';

/** An input of a pipeline: a value of its events, a row each. */
export interface EventTensor extends TensorInfo {
  kind: Kind;
  /** Whether the value of a row may be null. */
  nullable: boolean;
  /** Whether an element may be null. */
  nullableElements: boolean;
  /**
   * How a row is written: one element; a list of elements for each dimension after the first; or one element
   * of BYTES that is the value's JSON.
   */
  form: 'scalar' | 'list' | 'json';
  /** Names of the fields that lead to the value. */
  path: readonly string[];
  /** Whether a number is a time, which may be text too. */
  isTime?: boolean;
}

/** Inputs of every pipeline besides its event's fields: see `processors/events/envelope.ts`. */
const envelopeNames = ['event_id', 'event_time'];

const known = new WeakMap<RecordSchema, readonly EventTensor[]>();

/**
 * Returns the inputs that a contract's events are given in. Fields of nested records have their path as name
 * (`customer.age`). Arrays of numbers or booleans have a dimension each; maps and other arrays are JSON text.
 */
export function eventTensors(contract: RecordSchema): readonly EventTensor[] {
  const made = known.get(contract) ?? fieldPaths({ schema: contract }).map(toTensor);
  known.set(contract, made);
  return made;
}

/** The id and the time of an event, which are no fields of it. */
export const envelopeTensors: readonly EventTensor[] = envelopeNames.map((name) => ({
  name,
  datatype: 'BYTES',
  shape: [-1],
  kind: 'string',
  nullable: true,
  nullableElements: true,
  form: 'scalar',
  path: [name],
}));

/** Puts a row's value of an input where it belongs in the event. */
export function setValue(event: Record<string, unknown>, { path }: EventTensor, value: unknown): void {
  let record = event;
  for (const name of path.slice(0, -1)) {
    // A record inherits members such as `constructor`, which all objects share.
    if (!Object.hasOwn(record, name)) record[name] = {};
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- made here
    record = record[name] as Record<string, unknown>;
  }
  const last = path.at(-1);
  if (last !== undefined) record[last] = value;
}

/** Makes null of each nullable record without any value: its fields are inputs, and it is none itself. */
export function dropEmptyRecords(event: Record<string, unknown>, contract: RecordSchema): void {
  dropEmpty(event, eventShape(contract));
}

function dropEmpty(record: Record<string, unknown>, shape: RecordShape): void {
  for (const { name, type } of shape.fields) {
    const value = record[name];
    if (type.kind !== 'record' || typeof value !== 'object' || value === null) continue;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- made by setValue
    const inner = value as Record<string, unknown>;
    dropEmpty(inner, type);
    if (type.nullable && Object.values(inner).every((each) => each === null)) record[name] = null;
  }
}

function toTensor({ path, nullable, of }: FieldPath): EventTensor {
  const { lengths, items } = dimensionsOf(of);
  const kind = kindOfType(items);
  const base = { name: path, path: path.split('.'), nullable };
  if (lengths.length === 0 && kind !== undefined)
    return {
      ...base,
      datatype: datatypeOf(items),
      shape: [-1],
      kind,
      form: 'scalar',
      nullableElements: nullable,
      isTime: 'time' in items && items.time !== undefined,
    };
  if (kind === undefined || kind === 'string')
    return {
      ...base,
      datatype: 'BYTES',
      shape: [-1],
      kind: 'string',
      form: 'json',
      nullableElements: nullable,
    };
  const shape = [-1, ...lengths];
  return {
    ...base,
    datatype: datatypeOf(items),
    shape,
    kind,
    form: 'list',
    nullableElements: items.nullable,
  };
}

/** Returns the lengths of nested arrays, -1 where they may differ, and what is in the innermost. */
function dimensionsOf(type: FieldType): { lengths: number[]; items: FieldType } {
  if (type.kind !== 'array') return { lengths: [], items: type };
  // A tensor has no null in place of a list.
  const isList = type.items.kind !== 'array' || !type.items.nullable;
  const { lengths, items } = isList ? dimensionsOf(type.items) : { lengths: [], items: type.items };
  return { lengths: [type.minItems === type.maxItems ? type.minItems : -1, ...lengths], items };
}

/** @returns undefined for records, maps and arrays. */
function kindOfType({ kind }: FieldType): Kind | undefined {
  if (kind === 'boolean') return 'boolean';
  if (kind === 'string' || kind === 'enum' || kind === 'uuid') return 'string';
  return kind in datatypes ? 'number' : undefined;
}

const datatypes: Readonly<Record<string, string>> = {
  int: 'INT32',
  long: 'INT64',
  float: 'FP32',
  double: 'FP64',
  boolean: 'BOOL',
};

function datatypeOf({ kind }: FieldType): string {
  return datatypes[kind] ?? 'BYTES';
}

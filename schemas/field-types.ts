import { MillraceError } from '../platform/errors.js';
import {
  type AvroObject,
  type AvroType,
  contractFile,
  type ContractField,
  type Limits,
  type RecordSchema,
} from './contracts.js';

/** Types of numbers, as Avro names them. */
export type NumberKind = 'int' | 'long' | 'float' | 'double';

/** Logical types of numbers that may be text in JSON and in files. */
export type TimeKind = 'timestamp-millis' | 'local-timestamp-millis' | 'date';

/** The type of a field, an item or a value of an event, with its limits. Named types are resolved. */
export type FieldType = { nullable: boolean } & (
  | { kind: 'boolean' | 'uuid' }
  | { kind: 'string'; maxLength: number }
  | { kind: 'enum'; symbols: readonly string[] }
  | { kind: NumberKind; time?: TimeKind; minimum?: number; maximum?: number }
  | { kind: 'array'; items: FieldType; minItems: number; maxItems: number }
  | { kind: 'map'; values: FieldType; minItems: number; maxItems: number }
  | RecordShape
);

export interface RecordShape {
  kind: 'record';
  /** Without its namespace. */
  name: string;
  doc: string;
  fields: readonly EventField[];
}

export interface EventField {
  name: string;
  doc: string;
  type: FieldType;
  /** As in the contract: it may still break the limits. Undefined: the field has none. */
  default: unknown;
}

/** Maximum characters of a text without `maxLength`. */
const defaultLength = 10_000;

/** Maximum items of an array without `maxItems`, and entries of a map without `maxProperties`. */
const defaultItems = 10_000;

/** Maximum number of records, arrays and maps around a value. */
export const maxDepth = 16;

/**
 * Maximum number of fields, those of nested records included: named types could multiply them without end.
 */
const maxFields = 10_000;

const shapes = new WeakMap<RecordSchema, RecordShape>();

/**
 * Returns what an event of a contract may hold: the one reading of its Avro types, which checks, paths,
 * samples and TypeScript types are made from.
 *
 * @throws MillraceError `CONTRACT_INVALID` for a type that an event can't have, types nested too deep, and
 *   limits that are none.
 */
export function eventShape(contract: RecordSchema): RecordShape {
  const known = shapes.get(contract);
  if (known !== undefined) return known;
  const shape = new Reading(contract).record(contract, {
    namespace: '',
    limits: {},
    path: [],
    depth: 0,
  });
  shapes.set(contract, shape);
  return shape;
}

/** Where a type stands: in what namespace, with which limits, at what path (for errors), and how deep. */
interface Place {
  namespace: string;
  limits: Limits;
  path: readonly string[];
  depth: number;
}

type WithoutNull<T> = T extends unknown ? Omit<T, 'nullable'> : never;
type Shape = WithoutNull<FieldType>;

class Reading {
  /** Its file and name. */
  readonly #contract: string;
  /** By full name; undefined while the type is being read: a reference to it is a recursion then. */
  readonly #named = new Map<string, Shape | undefined>();
  #fields = 0;

  constructor(contract: RecordSchema) {
    const file = contractFile(contract);
    this.#contract = `${file === undefined ? '' : `${file}: `}${contract.name}`;
  }

  record(schema: RecordSchema, place: Place): RecordShape {
    const full = fullName(schema, place.namespace);
    const namespace = full.slice(0, full.lastIndexOf('.'));
    this.#named.set(full, undefined);
    const fields = schema.fields.map((field) =>
      this.#field(field, { ...place, namespace, path: [...place.path, field.name] }),
    );
    const name = full.slice(namespace.length + 1);
    const shape: RecordShape = { kind: 'record', name, doc: schema.doc ?? '', fields };
    this.#named.set(full, shape);
    return shape;
  }

  #field(field: ContractField, place: Place): EventField {
    if (field.name === '__proto__')
      throw this.#invalid(place, 'can’t be the name of a field: it is special in JavaScript. Rename it');
    this.#countFields(1, place);
    const type = this.#type(field.type, { ...place, limits: this.#limitsOf(field, place) });
    if (field.name === 'event_id' && place.path.length === 1 && type.kind !== 'string')
      throw this.#invalid(
        place,
        'is the id of an event, a string. Give the field this type, or another name',
      );
    return { name: field.name, doc: field.doc ?? '', type, default: field.default };
  }

  #type(type: AvroType, place: Place): FieldType {
    if (!Array.isArray(type)) return { ...this.#shape(type, place), nullable: false };
    const [branch, ...more] = type.filter((each) => each !== 'null');
    if (branch === undefined || Array.isArray(branch) || more.length > 0 || !type.includes('null'))
      throw this.#unsupported(type, place);
    return { ...this.#shape(branch, place), nullable: true };
  }

  #shape(type: Exclude<AvroType, AvroType[]>, outer: Place): Shape {
    if (typeof type === 'string') return this.#simple(type, outer);
    const limits = { ...outer.limits, ...this.#limitsOf(type, outer) };
    const place = { ...outer, limits, depth: outer.depth + 1 };
    this.#checkDepth(place.depth, place);
    if (Array.isArray(type.type)) throw this.#unsupported(type, place);
    if (typeof type.type === 'object') return this.#shape(type.type, place);
    switch (type.type) {
      case 'record':
        // Registries refuse arrays of values without bytes.
        if (type.fields?.length === 0) throw this.#invalid(place, 'is a record without fields. Add one');
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the contract is a valid Avro schema
        return this.record(type as unknown as RecordSchema, { ...place, limits: {} });
      case 'enum': {
        const shape: Shape = { kind: 'enum', symbols: type.symbols ?? [] };
        this.#named.set(fullName(type, place.namespace), shape);
        return shape;
      }
      case 'array':
      case 'map':
        return this.#container(type, place);
      default:
        return this.#simple(type.type, place, type);
    }
  }

  /** An array's or a map's other limits are those of its items or values, unless these have their own. */
  #container(type: AvroObject, place: Place): Shape {
    const { minItems, maxItems, minProperties, maxProperties, ...limits } = place.limits;
    const path = [...place.path.slice(0, -1), `${place.path.at(-1)}[]`];
    const isArray = type.type === 'array';
    const inner = this.#type((isArray ? type.items : type.values) ?? 'null', { ...place, limits, path });
    const [least = 0, most = Math.max(defaultItems, least)] = isArray
      ? [minItems, maxItems]
      : [minProperties, maxProperties];
    if (least > most) throw this.#invalid(place, 'has a least number of items above the most');
    const count = { minItems: least, maxItems: most };
    return isArray ? { kind: 'array', items: inner, ...count } : { kind: 'map', values: inner, ...count };
  }

  /** A primitive type, or a reference to a named one. */
  #simple(name: string, place: Place, type: AvroType = name): Shape {
    const logicalType = typeof type === 'object' && 'logicalType' in type ? type.logicalType : undefined;
    const { minimum, maximum, maxLength = defaultLength } = place.limits;
    if (minimum !== undefined && maximum !== undefined && minimum > maximum)
      throw this.#invalid(place, `has the minimum ${minimum}, above its maximum ${maximum}`);
    switch (name) {
      case 'boolean':
        return { kind: name };
      case 'string':
        return logicalType === 'uuid' ? { kind: 'uuid' } : { kind: name, maxLength };
      case 'float':
      case 'double':
        return { kind: name, minimum, maximum };
      case 'int':
      case 'long':
        return { kind: name, time: timeKinds.find((time) => time === logicalType), minimum, maximum };
      default: {
        const full = name.includes('.') ? name : `${place.namespace}.${name}`;
        const known = [full, `.${name}`].find((each) => this.#named.has(each));
        if (known === undefined) throw this.#unsupported(type, place);
        const shape = this.#named.get(known);
        if (shape !== undefined) return this.#again(shape, place);
        throw this.#invalid(
          place,
          `is a ${name} inside a ${name}. Write the levels that events need as types of their own`,
        );
      }
    }
  }

  /** A type that is used once more counts once more. */
  #again(shape: Shape, place: Place): Shape {
    const { fields, depth } = sizeOf(shape);
    this.#countFields(fields, place);
    this.#checkDepth(place.depth + depth, place);
    return shape;
  }

  #countFields(count: number, place: Place): void {
    this.#fields += count;
    if (this.#fields > maxFields)
      throw this.#invalid(place, `is one of more than ${maxFields} fields. Make the contract smaller`);
  }

  #checkDepth(depth: number, place: Place): void {
    if (depth > maxDepth)
      throw this.#invalid(place, `is nested deeper than ${maxDepth} levels. Make the contract flatter`);
  }

  #limitsOf(from: Limits, place: Place): Limits {
    const limits: Limits = {};
    for (const name of limitNames) {
      const value: unknown = from[name];
      if (value === undefined) continue;
      const counts = name !== 'minimum' && name !== 'maximum';
      const shown = typeof value === 'number' ? value : JSON.stringify(value);
      // A number such as 1e999 is infinite in JSON's parser.
      if (!Number.isFinite(value) || (counts && (!Number.isInteger(value) || Number(value) < 0)))
        throw this.#invalid(
          place,
          `has the ${name} ${shown}, which must be ${counts ? 'a whole number from 0' : 'a finite number'}`,
        );
      limits[name] = Number(value);
    }
    return limits;
  }

  #unsupported(type: AvroType, place: Place): MillraceError {
    const text = JSON.stringify(type);
    const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
    return this.#invalid(
      place,
      `has the Avro type ${shown}. An event field is int, long, float, double, boolean, string, an enum, ` +
        'a record, an array or a map of these, or one of them with null',
    );
  }

  #invalid({ path }: Place, problem: string): MillraceError {
    return new MillraceError('CONTRACT_INVALID', `${[this.#contract, ...path].join('.')} ${problem}.`);
  }
}

const timeKinds: readonly TimeKind[] = ['timestamp-millis', 'local-timestamp-millis', 'date'];

const limitNames = [
  'minimum',
  'maximum',
  'maxLength',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
] as const;

/** By Avro's rules: a name with dots is full, else it is in its own namespace or in that around it. */
function fullName({ name = '', namespace }: { name?: string; namespace?: string }, around: string): string {
  return name.includes('.') ? name : `${namespace ?? around}.${name}`;
}

/** Returns how many JSON values an event, or a value of a type, has at most: itself and all inside it. */
export function mostValues(type: Shape): number {
  const inner = innerTypes(type) ?? [];
  const each = inner.reduce((sum, value) => sum + mostValues(value), 0);
  return 1 + ('maxItems' in type ? type.maxItems * each : each);
}

/** Fields of nested records, and levels of records, arrays and maps. */
function sizeOf(type: Shape): { fields: number; depth: number } {
  const inner = innerTypes(type);
  if (inner === undefined) return { fields: 0, depth: 0 };
  const sizes = inner.map(sizeOf);
  return {
    fields: sizes.reduce((sum, { fields }) => sum + fields, type.kind === 'record' ? inner.length : 0),
    depth: 1 + Math.max(0, ...sizes.map(({ depth }) => depth)),
  };
}

function innerTypes(type: Shape): FieldType[] | undefined {
  if (type.kind === 'record') return type.fields.map((field) => field.type);
  if (type.kind === 'array') return [type.items];
  return type.kind === 'map' ? [type.values] : undefined;
}

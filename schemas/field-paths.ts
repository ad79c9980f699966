import { eventShape, type FieldType } from './field-types.js';
import type { RecordSchema } from './contracts.js';

/** A value of an event that has a path, such as `customer.age`. */
export interface FieldPath {
  /** Names of fields, keys of maps and positions in arrays, with dots between them. */
  path: string;
  /** In words: `double`, `timestamp-millis`, `array of double`, `map of string`. */
  type: string;
  /** Whether the value may be null or absent: its field, one around it, or an entry of a map. */
  nullable: boolean;
  /** The same as `type`, with limits. */
  of: FieldType;
}

/**
 * Lists the values of a contract's events that can be named, in the contract's order: fields of any depth.
 * Records are named by their fields; an array or a map is listed as a whole, and {@link findPath} also knows
 * its items.
 *
 * @throws MillraceError `CONTRACT_INVALID`.
 */
export function fieldPaths({ schema }: { schema: RecordSchema }): FieldPath[] {
  return leavesOf({ path: '', type: '', nullable: false, of: { ...eventShape(schema), nullable: false } });
}

/**
 * Returns the value that a path names, also a record, an item such as `readings.3` (that an array may hold),
 * or an entry such as `tags.colour`; undefined if events of the contract have none.
 */
export function findPath({ schema }: { schema: RecordSchema }, path: string): FieldPath | undefined {
  let found: FieldPath = { path, type: '', nullable: false, of: { ...eventShape(schema), nullable: false } };
  for (const step of path.split('.')) {
    const next = stepInto(found, step);
    if (next === undefined) return undefined;
    found = { ...next, path };
  }
  return found;
}

/**
 * Returns the value at a path of an event: dots descend into records and maps, numbers into arrays. An absent
 * key or item, and anything inside of null, is undefined; so is what no event can have.
 */
export function readPath(event: unknown, path: string): unknown {
  return pathReader(path)(event);
}

/** Returns {@link readPath} for one path and many events. */
export function pathReader(path: string): (event: unknown) => unknown {
  const steps = path.split('.');
  return (event) => {
    let value = event;
    for (const step of steps) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
      if (Array.isArray(value) && !position.test(step)) return undefined;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it has this key
      value = (value as Record<string, unknown>)[step];
    }
    return value;
  };
}

const position = /^(?:0|[1-9]\d*)$/;

function leavesOf(at: FieldPath): FieldPath[] {
  if (at.of.kind !== 'record') return [at];
  return at.of.fields.flatMap((field) => leavesOf(inside(at, field.name, field.type)));
}

function inside(at: FieldPath, name: string, of: FieldType, optional = false): FieldPath {
  const path = at.path === '' ? name : `${at.path}.${name}`;
  return { path, type: nameOf(of), nullable: at.nullable || of.nullable || optional, of };
}

function stepInto(at: FieldPath, step: string): FieldPath | undefined {
  const { of } = at;
  if (of.kind === 'record') {
    const field = of.fields.find(({ name }) => name === step);
    return field && inside(at, step, field.type);
  }
  if (of.kind === 'map') return inside(at, step, of.values, true);
  if (of.kind !== 'array' || !position.test(step) || Number(step) >= of.maxItems) return undefined;
  return inside(at, step, of.items, Number(step) >= of.minItems);
}

/** Returns a type's name in words, such as `array of double`. */
function nameOf(type: FieldType): string {
  if (type.kind === 'array') return `array of ${nameOf(type.items)}`;
  if (type.kind === 'map') return `map of ${nameOf(type.values)}`;
  return 'time' in type ? (type.time ?? type.kind) : type.kind;
}

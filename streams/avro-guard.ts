import avro from 'avsc';
import type { Type } from 'avsc';

/**
 * avsc trusts the count of an array or a map: five bytes can make it fill gigabytes, or loop for hours past
 * the end of the bytes. So encodings whose schema has arrays or maps are walked first, without making any
 * value. And a short schema can describe values with billions of parts in no bytes at all: such a schema is
 * refused.
 */
export type Guard = (bytes: Buffer, position: number) => void;

/** Maximum number of nulls and empty records in one value of a type, besides parts that take bytes. */
const maxFreeParts = 256;

const forbiddenKey = '__proto__';

export interface Cursor {
  bytes: Buffer;
  position: number;
}
type Walk = (cursor: Cursor) => void;

/** A mismatch of a value or a schema, and the field. */
export class Misfit extends Error {
  /** Names of fields, the outermost first. */
  readonly path: readonly string[];
  readonly problem: string;

  constructor(problem: string, path: readonly string[] = []) {
    super(path.length === 0 ? `it ${problem}` : `${path.join('.')} ${problem}`);
    this.path = path;
    this.problem = problem;
  }

  /** Returns the same mismatch, inside a field of this name. */
  static in(name: string, error: unknown): unknown {
    return error instanceof Misfit ? new Misfit(error.problem, [name, ...error.path]) : error;
  }
}

function endsWith({ bytes, position }: Cursor, text: string): boolean {
  return bytes.toString('latin1', position - text.length, position) === text;
}

interface Making {
  walks: Map<Type, Walk>;
  sizes: Sizes;
  containers: boolean;
}

/**
 * Returns a guard for values of a schema.
 *
 * @returns `undefined` when the schema has neither arrays nor maps: then a value is never larger than its
 *   bytes. The guard throws when the bytes end early, or a count is larger than the remaining bytes allow.
 * @throws Error when items of an array take no bytes at all, since any count is then possible; or when a
 *   value has too many parts that take no bytes.
 */
export function createGuard(type: Type): Guard | undefined {
  const making: Making = { walks: new Map(), sizes: new Map(), containers: false };
  const walk = walkOf(type, making);
  if (!making.containers) return undefined;
  return (bytes, position) => {
    const cursor = { bytes, position };
    walk(cursor);
    if (cursor.position !== bytes.length) throw leftOver();
  };
}

/** @returns a function that returns the walk over values of a type, without making any; it caches types. */
export function createWalker(): (type: Type) => (cursor: Cursor) => void {
  const making: Making = { walks: new Map(), sizes: new Map(), containers: false };
  return (type) => walkOf(type, making);
}

function walkOf(type: Type, making: Making): Walk {
  const known = making.walks.get(type);
  if (known) return known;
  // A recursive schema finds this entry while its walk is still being built.
  let made: Walk | undefined;
  making.walks.set(type, (cursor) => made?.(cursor));
  if (sizeOf(type, making.sizes).free > maxFreeParts)
    throw new Error(`values of ${type.name ?? type.typeName} have too many parts that take no bytes`);
  made = makeWalk(type, making);
  return made;
}

function makeWalk(type: Type, making: Making): Walk {
  const walkInner = (inner: Type): Walk => walkOf(inner, making);
  const { types } = avro;
  if (type instanceof types.RecordType) {
    const fields = type.fields.map((field) => walkInner(field.type));
    return (cursor) => {
      for (const field of fields) field(cursor);
    };
  }
  if (type instanceof types.UnwrappedUnionType || type instanceof types.WrappedUnionType) {
    const branches = type.types.map(walkInner);
    return (cursor) => {
      const branch = branches[readLong(cursor)];
      if (!branch) throw noBranch();
      branch(cursor);
    };
  }
  if (type instanceof types.ArrayType) {
    making.containers = true;
    return walkBlocks(walkInner(type.itemsType), sizeOf(type.itemsType, making.sizes).minimum);
  }
  if (type instanceof types.MapType) {
    making.containers = true;
    const value = walkInner(type.valuesType);
    const entry: Walk = (cursor) => {
      const length = readLong(cursor);
      skip(cursor, length);
      // avsc would set the map's prototype, and the value would be lost.
      if (length === forbiddenKey.length && endsWith(cursor, forbiddenKey))
        throw new Misfit(`has the key ${forbiddenKey}, which no map can have here`);
      value(cursor);
    };
    return walkBlocks(entry, 1 + sizeOf(type.valuesType, making.sizes).minimum);
  }
  if (type instanceof types.LogicalType) return walkInner(type.underlyingType);
  if (type instanceof types.FixedType) return (cursor) => skip(cursor, type.size);
  switch (type.typeName) {
    case 'null':
      return () => undefined;
    case 'boolean':
      return (cursor) => skip(cursor, 1);
    case 'float':
      return (cursor) => skip(cursor, 4);
    case 'double':
      return (cursor) => skip(cursor, 8);
    case 'int':
    case 'long':
    case 'enum':
      return (cursor) => void readLong(cursor);
    case 'string':
    case 'bytes':
      return (cursor) => skip(cursor, readLong(cursor));
    default:
      throw new Error(`no way to check values of type ${type.typeName}`);
  }
}

function walkBlocks(item: Walk, itemSize: number): Walk {
  if (itemSize === 0) throw new Misfit('is an array whose items take no bytes');
  return (cursor) => readBlocks(cursor, itemSize, () => item(cursor));
}

/**
 * Blocks of items: count, items; a negative count is followed by the block's size in bytes; count 0 ends
 * them.
 *
 * @param itemSize - minimum bytes of an item.
 */
export function readBlocks(cursor: Cursor, itemSize: number, item: () => void): void {
  for (;;) {
    let count = readLong(cursor);
    if (count === 0) return;
    if (count < 0) {
      count = -count;
      readLong(cursor);
    }
    if (count * itemSize > cursor.bytes.length - cursor.position)
      throw new Misfit('says it has more items than there are bytes');
    for (let index = 0; index < count; index++) item();
  }
}

export function noBranch(): Misfit {
  return new Misfit('has a union branch that does not exist');
}

export function leftOver(): Misfit {
  return new Misfit('has bytes left over after the value');
}

interface Size {
  /** Returns the minimum bytes of a value; may be too low inside a recursive type, but not 0 then. */
  minimum: number;
  /** Returns the maximum number of parts of a value that take no bytes, besides items of arrays and maps. */
  free: number;
}
type Sizes = Map<Type, Size>;

function sizeOf(type: Type, sizes: Sizes): Size {
  const known = sizes.get(type);
  if (known) return known;
  // A type recurs through a union (otherwise it has no finite value), and the branch takes a byte.
  sizes.set(type, { minimum: 1, free: 0 });
  const size = measure(type, sizes);
  sizes.set(type, size);
  return size;
}

function measure(type: Type, sizes: Sizes): Size {
  const { types } = avro;
  if (type instanceof types.RecordType) {
    const fields = type.fields.map((field) => sizeOf(field.type, sizes));
    const minimum = fields.reduce((sum, field) => sum + field.minimum, 0);
    const free = fields.reduce((sum, field) => sum + field.free, minimum === 0 ? 1 : 0);
    return { minimum, free };
  }
  if (type instanceof types.UnwrappedUnionType || type instanceof types.WrappedUnionType) {
    const branches = type.types.map((branch) => sizeOf(branch, sizes));
    return {
      minimum: 1 + Math.min(...branches.map(({ minimum }) => minimum)),
      free: Math.max(...branches.map(({ free }) => free)),
    };
  }
  if (type instanceof types.LogicalType) return sizeOf(type.underlyingType, sizes);
  const minimum =
    type instanceof types.FixedType ? type.size : ({ null: 0, float: 4, double: 8 }[type.typeName] ?? 1);
  return { minimum, free: minimum === 0 ? 1 : 0 };
}

export function skip(cursor: Cursor, length: number): void {
  cursor.position += length;
  if (length < 0 || cursor.position > cursor.bytes.length) throw cutOff();
}

function cutOff(): Misfit {
  return new Misfit('is cut off, or has a wrong length');
}

/** Reads a zigzag variable-length long; beyond 2^53 it is inexact, and far too large for any count. */
export function readLong(cursor: Cursor): number {
  let value = 0;
  let factor = 1;
  for (let length = 0; length < 10; length++) {
    const byte = cursor.bytes[cursor.position++];
    if (byte === undefined) throw cutOff();
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    factor *= 128;
  }
  throw new Misfit('has a number of more than ten bytes');
}

import avro from 'avsc';
import type { Type } from 'avsc';

/**
 * avsc takes an array's or a map's count on trust: five bytes can make it fill gigabytes, or loop for hours past the
 * end of the bytes. So encodings whose schema has arrays or maps are walked first, without making any value.
 */
export type Guard = (bytes: Buffer, position: number) => void;

interface Cursor {
  bytes: Buffer;
  position: number;
}
type Walk = (cursor: Cursor) => void;

/**
 * @returns `undefined` when the schema has neither arrays nor maps: then a value is never larger than its bytes.
 *   The guard throws when the bytes end early, or a count is more than the bytes left can hold.
 * @throws Error when items of an array take no bytes at all: then no count is too large.
 */
export function createGuard(type: Type): Guard | undefined {
  const walks = new Map<Type, Walk>();
  const containers = { found: false };
  const walk = walkOf(type, walks, containers);
  if (!containers.found) return undefined;
  return (bytes, position) => {
    const cursor = { bytes, position };
    walk(cursor);
    if (cursor.position !== bytes.length) throw new Error('bytes left over after the value');
  };
}

function walkOf(type: Type, walks: Map<Type, Walk>, containers: { found: boolean }): Walk {
  const known = walks.get(type);
  if (known) return known;
  // A recursive schema finds this while its walk is still being made.
  let made: Walk | undefined;
  walks.set(type, (cursor) => made?.(cursor));
  made = makeWalk(type, (inner) => walkOf(inner, walks, containers), containers);
  return made;
}

function makeWalk(type: Type, walkInner: (type: Type) => Walk, containers: { found: boolean }): Walk {
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
      if (!branch) throw new Error('a union branch that does not exist');
      branch(cursor);
    };
  }
  if (type instanceof types.ArrayType) {
    containers.found = true;
    return walkBlocks(walkInner(type.itemsType), minimumSize(type.itemsType));
  }
  if (type instanceof types.MapType) {
    containers.found = true;
    const value = walkInner(type.valuesType);
    const entry: Walk = (cursor) => {
      skip(cursor, readLong(cursor));
      value(cursor);
    };
    return walkBlocks(entry, 1 + minimumSize(type.valuesType));
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

/** Blocks of items: count, items; a negative count is followed by the block's size in bytes; count 0 ends them. */
function walkBlocks(item: Walk, itemSize: number): Walk {
  if (itemSize === 0) throw new Error('an array whose items take no bytes');
  return (cursor) => {
    for (;;) {
      let count = readLong(cursor);
      if (count === 0) return;
      if (count < 0) {
        count = -count;
        readLong(cursor);
      }
      if (count * itemSize > cursor.bytes.length - cursor.position) throw new Error('more items than bytes');
      for (let index = 0; index < count; index++) item(cursor);
    }
  };
}

/** The fewest bytes that a value can take. */
function minimumSize(type: Type, within = new Set<Type>()): number {
  const { types } = avro;
  if (within.has(type)) return 0;
  const inner = new Set(within).add(type);
  if (type instanceof types.RecordType)
    return type.fields.reduce((sum, field) => sum + minimumSize(field.type, inner), 0);
  if (type instanceof types.UnwrappedUnionType || type instanceof types.WrappedUnionType)
    return 1 + Math.min(...type.types.map((branch) => minimumSize(branch, inner)));
  if (type instanceof types.LogicalType) return minimumSize(type.underlyingType, inner);
  if (type instanceof types.FixedType) return type.size;
  return { null: 0, float: 4, double: 8 }[type.typeName] ?? 1;
}

function skip(cursor: Cursor, length: number): void {
  cursor.position += length;
  if (length < 0 || cursor.position > cursor.bytes.length) throw new Error('the bytes end early');
}

/** A zigzag variable-length long; beyond 2^53 it is inexact, and far too large for whatever it counts. */
function readLong(cursor: Cursor): number {
  let value = 0;
  let factor = 1;
  for (let length = 0; length < 10; length++) {
    const byte = cursor.bytes[cursor.position++];
    if (byte === undefined) throw new Error('the bytes end early');
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    factor *= 128;
  }
  throw new Error('a number of more than ten bytes');
}

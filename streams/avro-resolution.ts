import avro from 'avsc';
import type { Type } from 'avsc';
import {
  createWalker,
  type Cursor,
  leftOver,
  Misfit,
  noBranch,
  readBlocks,
  readLong,
  skip,
} from './avro-guard.js';

/** Reads the value at the cursor in the reader's schema. */
type Read = (cursor: Cursor) => unknown;

const { types } = avro;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Returns a reader of a writer's values in another schema, by Avro's rules (specification 1.12, "Schema
 * Resolution"), applied per value: a branch of a writer's union, or a symbol of its enum, that the reader
 * doesn't have is an error only of the values that use it. Two things are accepted beyond the rules: records,
 * enums and fixed of any name, and numbers of wider types if the value fits.
 *
 * @param writer - must have passed `createGuard`, which refuses schemas whose values their bytes don't bound.
 * @returns a function that reads a value from a position to the end of the bytes. It throws {@link Misfit},
 *   and RangeError for values nested deeper than the stack.
 * @throws Misfit when no value of the writer can be read.
 */
export function createResolution(reader: Type, writer: Type): (bytes: Buffer, position: number) => unknown {
  const read = new Resolution().resolve(reader, writer);
  return (bytes, position) => {
    const cursor = { bytes, position };
    const value = read(cursor);
    if (cursor.position !== bytes.length) throw leftOver();
    return value;
  };
}

class Resolution {
  readonly #made = new Map<Type, Map<Type, Read>>();
  /** Skips values that the reader doesn't have, whatever they are. */
  readonly #walker = createWalker();

  /** @throws Misfit */
  resolve(reader: Type, writer: Type): Read {
    let ofReader = this.#made.get(reader);
    if (ofReader === undefined) this.#made.set(reader, (ofReader = new Map()));
    const known = ofReader.get(writer);
    if (known !== undefined) return known;
    // A recursive schema finds this entry while its reader is still being built.
    let made: Read | undefined;
    ofReader.set(writer, (cursor) => made?.(cursor));
    made = this.#make(reader, writer);
    ofReader.set(writer, made);
    return made;
  }

  #make(reader: Type, writer: Type): Read {
    if (writer instanceof types.LogicalType) return this.resolve(reader, writer.underlyingType);
    if (reader instanceof types.LogicalType) return this.resolve(reader.underlyingType, writer);
    if (isUnion(writer)) return this.#fromUnion(reader, writer.types);
    if (isUnion(reader)) return this.#toUnion(reader, writer);
    if (reader instanceof types.RecordType && writer instanceof types.RecordType)
      return this.#record(reader, writer);
    if (reader instanceof types.ArrayType && writer instanceof types.ArrayType) {
      const item = this.resolve(reader.itemsType, writer.itemsType);
      return (cursor) => {
        const items: unknown[] = [];
        readBlocks(cursor, 1, () => items.push(readIn(String(items.length), item, cursor)));
        return items;
      };
    }
    if (reader instanceof types.MapType && writer instanceof types.MapType) {
      const value = this.resolve(reader.valuesType, writer.valuesType);
      return (cursor) => {
        const entries: [string, unknown][] = [];
        readBlocks(cursor, 1, () => {
          const key = readText(cursor);
          entries.push([key, readIn(key.slice(0, 100), value, cursor)]);
        });
        return Object.fromEntries(entries);
      };
    }
    if (reader instanceof types.EnumType && writer instanceof types.EnumType)
      return readEnum(reader, writer.symbols);
    if (reader instanceof types.FixedType && writer instanceof types.FixedType) {
      const { size } = writer;
      if (size === reader.size) return (cursor) => take(cursor, size);
      throw new Misfit(`has ${size} bytes, the contract has ${reader.size}`);
    }
    return readPrimitive(reader, writer);
  }

  #fromUnion(reader: Type, branches: readonly Type[]): Read {
    const reads = branches.map((branch) => attempt(() => this.resolve(reader, branch)));
    if (reads.every((read) => read instanceof Misfit))
      throw reads.find((_, index) => branches[index]?.typeName !== 'null') ?? reads[0];
    return (cursor) => {
      const read = reads[readLong(cursor)];
      if (read === undefined) throw noBranch();
      if (read instanceof Misfit) throw read;
      return read(cursor);
    };
  }

  /**
   * Reads a union's value as the branch of the writer's type if there is one, else as the first possible
   * branch.
   */
  #toUnion(reader: Union, writer: Type): Read {
    const isSame = ({ typeName }: Type): number => Number(typeName === writer.typeName);
    const branches = reader.types.toSorted((a, b) => isSame(b) - isSame(a));
    for (const branch of branches) {
      const read = attempt(() => this.resolve(branch, writer));
      if (read instanceof Misfit) continue;
      if (reader instanceof types.UnwrappedUnionType || branch.typeName === 'null') return read;
      const name = branch.branchName ?? '';
      return (cursor) => ({ [name]: read(cursor) });
    }
    throw unlike(reader, writer);
  }

  #record(reader: avro.types.RecordType, writer: avro.types.RecordType): Read {
    const written = new Set(writer.fields.map((field) => field.name));
    const sources = new Map<string, avro.types.Field>();
    const missing: avro.types.Field[] = [];
    for (const field of reader.fields) {
      const source = [field.name, ...field.aliases].find((name) => written.has(name));
      if (source !== undefined) sources.set(source, field);
      else if (field.defaultValue() !== undefined) missing.push(field);
      else throw new Misfit('is missing, and the contract has no default for it', [field.name]);
    }
    const steps = writer.fields.map(({ name: source, type }) => {
      const target = sources.get(source);
      const name = target?.name ?? source;
      try {
        if (target !== undefined) return { name, isWanted: true, read: this.resolve(target.type, type) };
        return { name, isWanted: false, read: this.#walker(type) };
      } catch (error) {
        throw Misfit.in(name, error);
      }
    });
    return (cursor) => {
      const value: Record<string, unknown> = {};
      // In the reader's order, which is the fastest to validate.
      for (const field of reader.fields) value[field.name] = undefined;
      for (const { name, isWanted, read } of steps) {
        const part = readIn(name, read, cursor);
        if (isWanted) value[name] = part;
      }
      for (const field of missing) value[field.name] = field.defaultValue();
      return value;
    };
  }
}

/** Reads a part of a value; an error names it. */
function readIn(name: string, read: Read, cursor: Cursor): unknown {
  try {
    return read(cursor);
  } catch (error) {
    throw Misfit.in(name, error);
  }
}

type Union = avro.types.UnwrappedUnionType | avro.types.WrappedUnionType;

function isUnion(type: Type): type is Union {
  return type instanceof types.UnwrappedUnionType || type instanceof types.WrappedUnionType;
}

function attempt(resolve: () => Read): Read | Misfit {
  try {
    return resolve();
  } catch (error) {
    if (error instanceof Misfit) return error;
    throw error;
  }
}

function readEnum(reader: avro.types.EnumType, symbols: readonly string[]): Read {
  const known = new Set(reader.symbols);
  const fallback = enumDefault(reader);
  const list = reader.symbols.join(', ');
  if (fallback === undefined && !symbols.some((symbol) => known.has(symbol)))
    throw new Misfit(`is one of ${symbols.slice(0, 20).join(', ')}, the contract has ${list}`);
  return (cursor) => {
    const symbol = symbols[readLong(cursor)];
    if (symbol === undefined) throw new Misfit('has a symbol that does not exist');
    if (known.has(symbol)) return symbol;
    if (fallback !== undefined) return fallback;
    throw new Misfit(`is ${symbol}, the contract has ${list}`);
  };
}

/** The default symbol for unknown ones; avsc's types leave it out. */
function enumDefault(type: avro.types.EnumType): string | undefined {
  return 'default' in type && typeof type.default === 'string' ? type.default : undefined;
}

function readPrimitive(reader: Type, writer: Type): Read {
  const read = reads[writer.typeName];
  const convert = conversionOf(reader.typeName, writer.typeName);
  if (read === undefined || convert === undefined) throw unlike(reader, writer);
  return (cursor) => convert(read(cursor));
}

const reads: Partial<Record<string, Read>> = {
  null: () => null,
  boolean: (cursor) => {
    const byte = take(cursor, 1)[0] ?? 0;
    if (byte > 1) throw new Misfit('is a boolean that is neither 0 nor 1');
    return byte === 1;
  },
  int: readInteger,
  long: readInteger,
  float: (cursor) => take(cursor, 4).readFloatLE(),
  double: (cursor) => take(cursor, 8).readDoubleLE(),
  bytes: (cursor) => take(cursor, readLong(cursor)),
  string: readText,
};

const numbers = new Set(['int', 'long', 'float', 'double']);

type Convert = (value: unknown) => unknown;

function conversionOf(reader: string, writer: string): Convert | undefined {
  if (numbers.has(reader) && numbers.has(writer)) return conversions[reader];
  if (reader === 'string' && writer === 'bytes') return (value) => toText(value as Buffer);
  if (reader === 'bytes' && writer === 'string') return (value) => Buffer.from(value as string);
  return reader === writer ? (value) => value : undefined;
}

const conversions: Record<string, Convert> = {
  int: (value) => toWhole('int', value, -(2 ** 31), 2 ** 31 - 1),
  long: (value) => toWhole('long', value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  float: (value) => {
    const number = toDouble(value);
    const rounded = Math.fround(number);
    if (Number.isFinite(rounded) || !Number.isFinite(number)) return rounded;
    throw new Misfit(`is ${number}, the contract has float, which holds up to 3.4028235e38`);
  },
  double: toDouble,
};

function toWhole(type: string, value: unknown, lowest: number, highest: number): number {
  const number = Number(value);
  if (Number.isInteger(number) && number >= lowest && number <= highest && typeof value === 'number')
    return number;
  throw new Misfit(
    `is ${String(value)}, the contract has ${type}: whole numbers from ${lowest} to ${highest} here`,
  );
}

function toDouble(value: unknown): number {
  if (typeof value !== 'bigint') return value as number;
  const number = Number(value);
  if (BigInt(number) === value) return number;
  throw new Misfit(`is ${value}, which a double can't hold exactly`);
}

function toText(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Misfit('is text that is not UTF-8');
  }
}

function readText(cursor: Cursor): string {
  return toText(take(cursor, readLong(cursor)));
}

function take(cursor: Cursor, length: number): Buffer {
  const start = cursor.position;
  skip(cursor, length);
  return cursor.bytes.subarray(start, start + length);
}

/** Returns a number if it is exact, else a bigint. */
function readInteger(cursor: Cursor): number | bigint {
  const start = cursor.position;
  const value = readLong(cursor);
  if (Number.isSafeInteger(value)) return value;
  let bits = 0n;
  for (let index = cursor.position - 1; index >= start; index--)
    bits = (bits << 7n) | BigInt((cursor.bytes[index] ?? 0) & 0x7f);
  bits = BigInt.asUintN(64, bits);
  return (bits & 1n) === 0n ? bits >> 1n : -(bits >> 1n) - 1n;
}

function unlike(reader: Type, writer: Type): Misfit {
  return new Misfit(`is ${nameOf(writer)}, the contract has ${nameOf(reader)}`);
}

function nameOf(type: Type): string {
  if (isUnion(type)) return type.types.map(nameOf).join(' or ');
  return type.name === undefined ? type.typeName : `${type.typeName} ${type.name}`;
}

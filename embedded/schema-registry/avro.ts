import avro, { type Schema, type Type } from 'avsc';
import { MillraceError, messageOf } from '../../platform/errors.js';

export const compatibilityLevels = [
  'NONE',
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
] as const;
export type CompatibilityLevel = (typeof compatibilityLevels)[number];

const maxDepth = 300;
const maxNodes = 20_000;

/**
 * Returns the text that identifies equal schemas: JSON without white space, keys sorted, docs and defaults
 * kept (a fingerprint of the parsing canonical form would drop them, and give two schemas with different
 * defaults one id).
 *
 * @throws {MillraceError} `INVALID_SCHEMA` when it is no JSON, or nested deeper or larger than the registry
 *   accepts.
 */
export function canonicalText(schema: string): string {
  let nodes = 0;
  function write(value: unknown, depth: number): string {
    nodes++;
    if (depth > maxDepth || nodes > maxNodes) {
      throw invalid(`it is nested deeper than ${maxDepth} levels or has more than ${maxNodes} parts`);
    }
    if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`;
    if (typeof value !== 'object' || value === null) return JSON.stringify(value);
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${write(item, depth + 1)}`).join(',')}}`;
  }
  return write(parseJson(schema), 0);
}

/**
 * Returns the schema as an Avro type, for compatibility checks.
 *
 * @throws {MillraceError} `INVALID_SCHEMA` when it is no Avro schema, or has an array whose items take no
 *   bytes: a message of five bytes can declare millions of them, and readers would build them all.
 */
export function parseSchema(schema: string): Type {
  canonicalText(schema);
  let type: Type;
  try {
    const json: Schema = parseJson(schema);
    // Fixed: by default, avsc could represent two versions of a union in different ways.
    type = avro.Type.forSchema(json, { wrapUnions: true });
  } catch (error) {
    throw invalid(messageOf(error), error);
  }
  refuseEmptyItems(type);
  return type;
}

/**
 * Returns the reasons not to register `next` after `previous`; empty when compatible. BACKWARD: a reader with
 * the new schema reads data of the old one. FORWARD: the other way round. FULL: both.
 */
export function incompatibilities(next: Type, previous: Type, level: CompatibilityLevel): string[] {
  const found: string[] = [];
  if (level.startsWith('BACKWARD') || level.startsWith('FULL')) {
    const why = new Misfits('the new one').of(next, previous);
    found.push(...why.map((each) => `the new schema can not read data of the old one: ${each}`));
  }
  if (level.startsWith('FORWARD') || level.startsWith('FULL')) {
    const why = new Misfits('the old one').of(previous, next);
    found.push(...why.map((each) => `the old schema can not read data of the new one: ${each}`));
  }
  return found;
}

/**
 * Returns the parts of a writer's schema that a reader can't read, by field (Avro specification 1.12, "Schema
 * Resolution"). Names match without their namespaces. A union of the writer is readable when one of its
 * branches is: by the specification, the branch of each value decides.
 */
class Misfits {
  readonly #reader: string;
  readonly #known = new Map<Type, Map<Type, string[]>>();

  /** @param reader - name of the reader's schema in the messages. */
  constructor(reader: string) {
    this.#reader = reader;
  }

  of(reader: Type, writer: Type, path: readonly string[] = []): string[] {
    let ofReader = this.#known.get(reader);
    if (ofReader === undefined) this.#known.set(reader, (ofReader = new Map()));
    const known = ofReader.get(writer);
    if (known !== undefined) return known;
    // For a recursive type the first result is complete.
    ofReader.set(writer, []);
    const found = isReadable(reader, writer) ? [] : this.#find(reader, writer, path);
    ofReader.set(writer, found);
    return found;
  }

  #find(reader: Type, writer: Type, path: readonly string[]): string[] {
    const { types } = avro;
    if (writer instanceof types.WrappedUnionType) {
      const found = writer.types.map((branch) => this.of(reader, branch, path));
      return found.some((each) => each.length === 0) ? [] : (found.at(-1) ?? []);
    }
    if (reader instanceof types.WrappedUnionType) {
      const fits = reader.types.some((branch) => this.of(branch, writer, path).length === 0);
      return fits ? [] : [this.#unlike(reader, writer, path)];
    }
    if (reader instanceof types.LogicalType) return this.of(reader.underlyingType, writer, path);
    if (reader instanceof types.ArrayType && writer instanceof types.ArrayType)
      return this.of(reader.itemsType, writer.itemsType, [...path, '[]']);
    if (reader instanceof types.MapType && writer instanceof types.MapType)
      return this.of(reader.valuesType, writer.valuesType, [...path, '{}']);
    if (
      reader instanceof types.RecordType &&
      writer instanceof types.RecordType &&
      isReadable(withoutFields(reader), withoutFields(writer))
    )
      return this.#ofFields(reader, writer, path);
    return [this.#unlike(reader, writer, path)];
  }

  #ofFields(reader: avro.types.RecordType, writer: avro.types.RecordType, path: readonly string[]): string[] {
    return reader.fields.flatMap((field) => {
      const names = new Set([field.name, ...field.aliases]);
      const written = writer.fields.find(({ name }) => names.has(name));
      const inner = [...path, field.name];
      if (written !== undefined) return this.of(field.type, written.type, inner);
      return field.defaultValue() === undefined
        ? [`${inner.join('.')} is missing, and has no default in ${this.#reader}`]
        : [];
    });
  }

  #unlike(reader: Type, writer: Type, path: readonly string[]): string {
    const what = path.length === 0 ? 'it' : path.join('.');
    return `${what} is ${nameOf(writer)}, ${this.#reader} has ${nameOf(reader)}`;
  }
}

function isReadable(reader: Type, writer: Type): boolean {
  try {
    reader.createResolver(writer, { ignoreNamespaces: true });
    return true;
  } catch {
    return false;
  }
}

/** Reports whether the names match. */
function withoutFields(type: avro.types.RecordType): Type {
  const { name = 'Record', aliases = [] } = type;
  return avro.Type.forSchema({ type: 'record', name, aliases, fields: [] });
}

function nameOf(type: Type): string {
  if (type instanceof avro.types.WrappedUnionType) return type.types.map(nameOf).join(' or ');
  if (type instanceof avro.types.EnumType) return `enum of ${type.symbols.slice(0, 20).join(', ')}`;
  return type.name === undefined ? type.typeName : `${type.typeName} ${type.name}`;
}

function parseJson(text: string) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(messageOf(error), error);
  }
}

function refuseEmptyItems(root: Type): void {
  const known = new Map<Type, boolean>();
  const seen = new Set<Type>();
  const waiting = [root];
  for (let type = waiting.pop(); type !== undefined; type = waiting.pop()) {
    if (seen.has(type)) continue;
    seen.add(type);
    if (type instanceof avro.types.ArrayType && takesNoBytes(type.itemsType, known)) {
      throw invalid('it has an array whose items take no bytes');
    }
    waiting.push(...innerTypes(type));
  }
}

/** @param known - cached results: a schema can reach the same record in exponentially many ways. */
function takesNoBytes(type: Type, known: Map<Type, boolean>): boolean {
  const answer = known.get(type);
  if (answer !== undefined) return answer;
  // While it is checked: a record that contains itself unconditionally has no finite value, so nothing is
  // written.
  known.set(type, false);
  const empty =
    type instanceof avro.types.NullType ||
    (type instanceof avro.types.FixedType && type.size === 0) ||
    (type instanceof avro.types.RecordType && type.fields.every((field) => takesNoBytes(field.type, known)));
  known.set(type, empty);
  return empty;
}

function innerTypes(type: Type): readonly Type[] {
  if (type instanceof avro.types.ArrayType) return [type.itemsType];
  if (type instanceof avro.types.MapType) return [type.valuesType];
  if (type instanceof avro.types.RecordType) return type.fields.map((field) => field.type);
  if (type instanceof avro.types.WrappedUnionType) return type.types;
  if (type instanceof avro.types.LogicalType) return [type.underlyingType];
  return [];
}

function invalid(why: string, cause?: unknown): MillraceError {
  return new MillraceError('INVALID_SCHEMA', `Invalid schema: ${why}`, { cause });
}

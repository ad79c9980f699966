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
 * The text by which schemas are the same: JSON without white space, keys sorted, docs and defaults kept (a fingerprint
 * of the parsing canonical form would drop them, and give two schemas with different defaults one id).
 *
 * @throws {MillraceError} `INVALID_SCHEMA` when it is no JSON, or nested deeper or larger than the registry takes.
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
 * The schema as an Avro type, for compatibility checks.
 *
 * @throws {MillraceError} `INVALID_SCHEMA` when it is no Avro schema, or has an array whose items take no bytes: a
 * message of five bytes can claim millions of them, and readers would build them all.
 */
export function parseSchema(schema: string): Type {
  canonicalText(schema);
  let type: Type;
  try {
    const json: Schema = parseJson(schema);
    // Pinned: left to avsc, two versions of a union could be represented in different ways.
    type = avro.Type.forSchema(json, { wrapUnions: true });
  } catch (error) {
    throw invalid(messageOf(error), error);
  }
  refuseEmptyItems(type);
  return type;
}

/**
 * What stands against registering `next` after `previous`; empty when compatible. BACKWARD: a reader with the new
 * schema reads data of the old one. FORWARD: the other way round. FULL: both.
 */
export function incompatibilities(next: Type, previous: Type, level: CompatibilityLevel): string[] {
  const found: string[] = [];
  if (level.startsWith('BACKWARD') || level.startsWith('FULL')) {
    found.push(...whyNotReadable(next, previous, 'the new schema can not read data of the old one'));
  }
  if (level.startsWith('FORWARD') || level.startsWith('FULL')) {
    found.push(...whyNotReadable(previous, next, 'the old schema can not read data of the new one'));
  }
  return found;
}

function whyNotReadable(reader: Type, writer: Type, what: string): string[] {
  try {
    reader.createResolver(writer);
    return [];
  } catch (error) {
    return [`${what}: ${messageOf(error)}`];
  }
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

/** @param known - answers so far: a schema can reach the same record in exponentially many ways. */
function takesNoBytes(type: Type, known: Map<Type, boolean>): boolean {
  const answer = known.get(type);
  if (answer !== undefined) return answer;
  // While it is looked at: a record that holds itself without a choice has no finite value, so nothing is written.
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

import avro, { type Type } from 'avsc';
import { createWalker, type Cursor } from './avro-guard.js';

/** Replaces some fields in the encoding of a record. @returns a new buffer. */
export type ReplaceFields = (bytes: Buffer, start: number, values: object) => Buffer;

/**
 * Returns a function that replaces consecutive fields in the encoding of a record, without decoding and
 * encoding the others.
 *
 * @param names - of the fields, in their order in the record.
 * @returns a function of the bytes of a valid value, of where it begins, and of the new values.
 * @throws Error if the type has no such fields next to each other.
 */
export function createFieldReplacer(type: Type, names: readonly string[]): ReplaceFields {
  if (!(type instanceof avro.types.RecordType)) throw new Error(`${type.typeName} has no fields`);
  const { fields } = type;
  const first = fields.findIndex(({ name }) => name === names[0]);
  const replaced = fields.slice(first, first + names.length);
  if (replaced.map(({ name }) => name).join() !== names.join())
    throw new Error(`${type.name} has no fields ${names.join(', ')} next to each other`);
  const walkerOf = createWalker();
  const before = fields.slice(0, first).map((field) => walkerOf(field.type));
  const within = replaced.map((field) => walkerOf(field.type));
  return (bytes, start, values) => {
    const cursor: Cursor = { bytes, position: start };
    for (const walk of before) walk(cursor);
    const from = cursor.position;
    for (const walk of within) walk(cursor);
    const parts = replaced.map((field) =>
      field.type.toBuffer((values as Record<string, unknown>)[field.name]),
    );
    return Buffer.concat([bytes.subarray(0, from), ...parts, bytes.subarray(cursor.position)]);
  };
}

import avro from 'avsc';
import type { Type } from 'avsc';

const { types } = avro;

/**
 * Returns an Avro value as clients write it in JSON: a value of a union without the name of its branch, and
 * bytes as text with a character for each.
 *
 * @param value - of a type whose unions are wrapped.
 */
export function plainValue(type: Type, value: unknown): unknown {
  if (type instanceof types.LogicalType) return plainValue(type.underlyingType, value);
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (typeof value !== 'object' || value === null) return value;
  if (type instanceof types.ArrayType) {
    const { itemsType } = type;
    return (value as unknown[]).map((item) => plainValue(itemsType, item));
  }
  const values = value as Record<string, unknown>;
  if (type instanceof types.WrappedUnionType) {
    const branch = type.types.find(({ branchName = '' }) => Object.hasOwn(values, branchName));
    return branch && plainValue(branch, values[branch.branchName ?? '']);
  }
  if (type instanceof types.RecordType)
    return Object.fromEntries(type.fields.map(({ name, type: of }) => [name, plainValue(of, values[name])]));
  if (!(type instanceof types.MapType)) return value;
  const { valuesType } = type;
  return Object.fromEntries(Object.entries(values).map(([key, each]) => [key, plainValue(valuesType, each)]));
}

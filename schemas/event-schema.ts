import { z } from 'zod';
import { MillraceError } from '../platform/errors.js';
import type { AvroType, ContractField, RecordSchema } from './contracts.js';

/** What is wrong with one field of an event. */
export interface FieldError {
  field: string;
  problem: string;
}

/**
 * The validator of an event's fields, derived from its Avro contract: types, limits and doc strings are written once, there.
 * Integers must be whole numbers in Avro's range, numbers finite; a timestamp may be RFC 3339 text; unknown fields are refused; a nullable field or one with a
 * default may be left out. The OpenAPI document is made from the same schema.
 *
 * @throws MillraceError `CONTRACT_INVALID` for an Avro type that an event can't have over JSON (bytes, maps, arrays, records).
 */
export function eventSchema(contract: RecordSchema): z.ZodObject {
  const shape = Object.fromEntries(
    contract.fields.map((field) => [field.name, fieldSchema(contract, field)]),
  );
  return z.strictObject(shape).meta({ id: contract.name, description: contract.doc ?? '' });
}

/**
 * A check that is quick where {@link eventSchema} is thorough: it passes only events that the schema would give back as
 * they are, fields in the contract's order and none left out. What it doesn't pass may still be one for the schema.
 */
export function eventCheck(contract: RecordSchema): (event: unknown) => boolean {
  const names = contract.fields.map((field) => field.name);
  const checks = contract.fields.map((field) => valueCheck(contract, field, field.type));
  return (event) => {
    if (typeof event !== 'object' || event === null) return false;
    const values = event as Record<string, unknown>;
    let index = 0;
    for (const name in values) {
      if (name !== names[index] || checks[index]?.(values[name]) !== true) return false;
      index++;
    }
    return index === names.length;
  };
}

/** Every field that a failed parse complains of, by name. */
export function fieldErrors(error: z.ZodError): FieldError[] {
  return error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ field: key, problem: 'is not a field of this event' }))
      : [{ field: issue.path.join('.'), problem: issue.message }],
  );
}

function fieldSchema(contract: RecordSchema, field: ContractField): z.ZodType {
  const described = typeSchema(contract, field, field.type).describe(field.doc ?? '');
  return 'default' in field ? described.default(field.default) : described;
}

function typeSchema(contract: RecordSchema, field: ContractField, type: AvroType): z.ZodType {
  if (Array.isArray(type)) {
    const [branch, ...more] = type.filter((each) => each !== 'null');
    if (branch === undefined || more.length > 0 || !type.includes('null')) throw unsupported(contract, field);
    return typeSchema(contract, field, branch).nullable();
  }
  if (typeof type === 'object') {
    if ('symbols' in type) {
      return z.enum(type.symbols, { error: missingOr(`must be one of ${type.symbols.join(', ')}`) });
    }
    return type.logicalType === 'timestamp-millis'
      ? timeSchema(field)
      : typeSchema(contract, field, type.type);
  }
  switch (type) {
    case 'boolean':
      return z.boolean({ error: missingOr('must be true or false') });
    case 'string':
      return z
        .string({ error: missingOr('must be a string') })
        .max(field.maxLength ?? 10_000, `must not be longer than ${field.maxLength ?? 10_000} characters`);
    default: {
      const range = numberRanges[type];
      if (range === undefined) throw unsupported(contract, field);
      return numberSchema(field, range);
    }
  }
}

type Check = (value: unknown) => boolean;

function valueCheck(contract: RecordSchema, field: ContractField, type: AvroType): Check {
  if (Array.isArray(type)) {
    const branches = type.map((branch) => valueCheck(contract, field, branch));
    return (value) => branches.some((check) => check(value));
  }
  if (typeof type === 'object') {
    if ('symbols' in type) {
      const symbols = new Set<unknown>(type.symbols);
      return (value) => symbols.has(value);
    }
    return type.logicalType === 'timestamp-millis'
      ? numberCheck(field, timeRange)
      : valueCheck(contract, field, type.type);
  }
  switch (type) {
    case 'null':
      return (value) => value === null;
    case 'boolean':
      return (value) => typeof value === 'boolean';
    case 'string':
      return (value) => typeof value === 'string' && value.length <= (field.maxLength ?? 10_000);
    default: {
      const range = numberRanges[type];
      if (range === undefined) throw unsupported(contract, field);
      return numberCheck(field, range);
    }
  }
}

function numberCheck(field: ContractField, { whole, lowest, highest }: NumberRange): Check {
  const [minimum, maximum] = [field.minimum ?? lowest, field.maximum ?? highest];
  return (value) =>
    typeof value === 'number' &&
    value >= minimum &&
    value <= maximum &&
    (!whole || Number.isSafeInteger(value));
}

interface NumberRange {
  kind: string;
  whole: boolean;
  lowest: number;
  highest: number;
}

/** Milliseconds since 1970 that a `Date` can hold. */
const timeRange: NumberRange = { kind: 'a time', whole: true, lowest: -8.64e15, highest: 8.64e15 };

const double = {
  kind: 'a number',
  whole: false,
  lowest: -Number.MAX_VALUE,
  highest: Number.MAX_VALUE,
};

const numberRanges: Record<string, NumberRange> = {
  int: { kind: 'a whole number', whole: true, lowest: -(2 ** 31), highest: 2 ** 31 - 1 },
  long: {
    kind: 'a whole number',
    whole: true,
    lowest: Number.MIN_SAFE_INTEGER,
    highest: Number.MAX_SAFE_INTEGER,
  },
  float: double,
  double,
};

function numberSchema(field: ContractField, { kind, whole, lowest, highest }: NumberRange): z.ZodType {
  const [minimum, maximum] = [field.minimum ?? lowest, field.maximum ?? highest];
  const unlimited = field.minimum === undefined && field.maximum === undefined;
  const problem = unlimited ? `must be ${kind}` : `must be ${kind} from ${minimum} to ${maximum}`;
  const number = z
    .number({ error: missingOr(problem) })
    .min(minimum, problem)
    .max(maximum, problem);
  return whole ? number.int(problem) : number;
}

/** A time comes as milliseconds since 1970, as Avro has it, or as RFC 3339 text, which becomes that number. */
function timeSchema(field: ContractField): z.ZodType {
  const { minimum = timeRange.lowest, maximum = timeRange.highest } = field;
  const [from, to] = [minimum, maximum].map((time) => new Date(time).toISOString());
  const problem = `must be a time such as 2026-01-31T12:00:00Z, or milliseconds since 1970, from ${from} to ${to}`;
  const milliseconds = z.number({ error: problem }).int(problem).min(minimum, problem).max(maximum, problem);
  const text = z.iso.datetime({ offset: true, error: problem }).transform(Date.parse).pipe(milliseconds);
  return z.union([milliseconds, text], { error: missingOr(problem) });
}

function missingOr(problem: string): (issue: { input?: unknown }) => string {
  return (issue) => (issue.input === undefined ? 'is missing' : problem);
}

function unsupported(contract: RecordSchema, field: ContractField): MillraceError {
  return new MillraceError(
    'CONTRACT_INVALID',
    `${contract.name}.${field.name} has the Avro type ${JSON.stringify(field.type)}. ` +
      'An event field is int, long, float, double, boolean, string, an enum, or one of these with null.',
  );
}

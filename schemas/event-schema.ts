import { z } from 'zod';
import { MillraceError } from '../platform/errors.js';
import { contractFile, type RecordSchema } from './contracts.js';
import { valueCheck } from './event-check.js';
import { type EventField, eventShape, type FieldType } from './field-types.js';
import { keyProblem, maxKeyLength } from './map-keys.js';
import { numberHint } from './number-text.js';
import { numberLimits, type NumberType, type TimeText, timeText } from './number-types.js';

/** An invalid field of an event. */
export interface FieldError {
  field: string;
  problem: string;
}

/** An event that does not match its contract, with all invalid fields. Code `EVENT_INVALID`. */
export class InvalidEvent extends MillraceError {
  readonly fields: FieldError[];

  constructor(fields: FieldError[]) {
    const named = fields.slice(0, 5).map(({ field, problem }) => `${field || 'the event'} ${problem}`);
    if (fields.length > named.length) named.push(`and ${fields.length - named.length} more`);
    super('EVENT_INVALID', named.join('; '));
    this.name = 'InvalidEvent';
    this.fields = fields;
  }

  override get members(): object {
    return { errors: this.fields };
  }
}

/**
 * The validator of an event's fields, derived from its Avro contract: types, limits and doc strings are
 * written once, there. Integers must be whole numbers in Avro's range, numbers finite; a timestamp or date
 * may be text; unknown fields are refused; a nullable field or one with a default may be left out. The
 * OpenAPI document is made from the same schema.
 *
 * What it gives back is what Avro gives back of it, to the bit: what is scored and answered is what the log
 * has. So a `float` is rounded to one, a zero has no sign, and text is well-formed Unicode. The keys of a map
 * have no order in Avro: they are sorted, so that equal events are equal text.
 *
 * @throws MillraceError `CONTRACT_INVALID` for an Avro type that an event can't have over JSON (bytes, fixed,
 *   unions of several types, recursive types), and for a default that the field's own limits refuse.
 */
export function eventSchema(contract: RecordSchema): z.ZodObject {
  const { name, doc, fields } = eventShape(contract);
  const file = contractFile(contract);
  return objectSchema(fields, file === undefined ? name : `${file}: ${name}`).meta({
    id: name,
    description: doc,
  });
}

/** Maximum number of invalid fields in an error. An event may have any number of unknown ones. */
const maxNamed = 100;

/** Returns the invalid fields of a failed parse by name, without duplicates, at most a hundred. */
export function fieldErrors(error: z.ZodError): FieldError[] {
  const problems = new Map<string, string>();
  for (const issue of error.issues) {
    const isUnknown = issue.code === 'unrecognized_keys';
    const problem = isUnknown ? 'is not a field of this event' : issue.message;
    const names = isUnknown ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
    for (const field of names.map((path) => path.join('.'))) {
      if (problems.size === maxNamed) break;
      if (!problems.has(field)) problems.set(field, problem);
    }
  }
  return [...problems].map(([field, problem]) => ({ field, problem }));
}

function objectSchema(fields: readonly EventField[], path: string): z.ZodObject {
  const shape = fields.map((field) => {
    const schema = fieldSchema(field, `${path}.${field.name}`);
    return [field.name, field.name in Object.prototype ? ownOnly(field.name, schema) : schema];
  });
  return z.strictObject(Object.fromEntries(shape) as z.ZodRawShape, {
    error: missingOr('must be an object'),
  });
}

/** zod reads what an object inherits too: one without a field `constructor` would have a function there. */
function ownOnly(name: string, schema: z.ZodType): z.ZodType {
  const inherited: unknown = Reflect.get(Object.prototype, name);
  const own = z.preprocess((value) => (value === inherited ? undefined : value), schema);
  return schema instanceof z.ZodDefault ? own.default(() => schema.parse(undefined)) : own;
}

function fieldSchema(field: EventField, path: string): z.ZodType {
  const schema = typeSchema(field.type, path).describe(field.doc);
  if (field.default === undefined) return field.type.nullable ? schema.default(null) : schema;
  const { data, error } = schema.safeParse(field.default);
  if (error === undefined) return schema.default(() => structuredClone(data));
  const [wrong] = fieldErrors(error);
  throw new MillraceError(
    'CONTRACT_INVALID',
    `${path} has the default ${JSON.stringify(field.default)}, ` +
      `${wrong?.field ? `whose ${wrong.field}` : 'which'} ${wrong?.problem}.`,
  );
}

function typeSchema(type: FieldType, path: string): z.ZodType {
  const schema = plainSchema(type, path);
  return type.nullable ? schema.nullable() : schema;
}

function plainSchema(type: FieldType, path: string): z.ZodType {
  switch (type.kind) {
    case 'boolean':
      return z.boolean({ error: missingOr('must be true or false') });
    case 'string':
      return stringSchema(type.maxLength);
    case 'uuid':
      return z.uuid({ error: missingOr('must be a UUID such as 123e4567-e89b-12d3-a456-426614174000') });
    case 'enum':
      return z.enum(type.symbols, { error: missingOr(`must be one of ${type.symbols.join(', ')}`) });
    case 'array':
      return arraySchema(type, path);
    case 'map':
      return mapSchema(type, path);
    case 'record':
      return objectSchema(type.fields, path);
    case 'int':
    case 'long':
    case 'float':
    case 'double':
      break;
  }
  const text = timeText(type);
  return text === undefined ? numberSchema(type) : timeSchema(type, text);
}

function stringSchema(maxLength: number): z.ZodType {
  return z
    .string({ error: missingOr('must be a string') })
    .max(maxLength, `must not be longer than ${maxLength} characters`)
    .refine(
      (text) => text.isWellFormed(),
      // Avro's text is UTF-8, which has none: another text would come back.
      'has half of a character (a lone surrogate)',
    );
}

/**
 * zod's own arrays and records check every item, whatever the limit is, and report each: a small body could
 * fill gigabytes. And zod's records drop some keys without a word.
 */
function arraySchema(type: Extract<FieldType, { kind: 'array' }>, path: string): z.ZodType {
  const { minItems, maxItems } = type;
  const items = partSchema(type.items, path);
  const read = z.unknown().transform((value, { issues }) => {
    if (!Array.isArray(value)) return refuse(issues, value, 'must be an array');
    const problem = countProblem(value.length, type, 'items');
    if (problem !== undefined) return refuse(issues, value, problem);
    return value.map((item, index) => (issues.length < maxNamed ? items.read(item, index, issues) : item));
  });
  return read.meta({ type: 'array', minItems, maxItems, items: items.json });
}

function mapSchema(type: Extract<FieldType, { kind: 'map' }>, path: string): z.ZodType {
  const values = partSchema(type.values, path);
  const read = z.unknown().transform((value, { issues }) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return refuse(issues, value, 'must be an object');
    const entries = Object.entries(value);
    const problem = countProblem(entries.length, type, 'entries');
    if (problem !== undefined) return refuse(issues, value, problem);
    const map: Record<string, unknown> = {};
    for (const [key, each] of entries.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      if (issues.length >= maxNamed) break;
      const wrong = keyProblem(key);
      if (wrong === undefined) map[key] = values.read(each, key, issues);
      else issues.push({ code: 'custom', message: wrong, path: [key.slice(0, 100)], input: key });
    }
    return map;
  });
  return read.meta({
    type: 'object',
    minProperties: type.minItems,
    maxProperties: type.maxItems,
    propertyNames: { maxLength: maxKeyLength },
    additionalProperties: values.json,
  });
}

type Issues = z.core.$ZodRawIssue[];

/** Items of an array, or values of a map. */
function partSchema(type: FieldType, path: string) {
  const schema = typeSchema(type, path);
  const fits = valueCheck(type);
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const read = (value: unknown, key: PropertyKey, issues: Issues): unknown => {
    if (fits(value)) return value;
    const { data, error } = schema.safeParse(value);
    for (const issue of error?.issues ?? []) issues.push({ ...issue, path: [key, ...issue.path] } as never);
    return data;
  };
  return { json, read };
}

function refuse(issues: Issues, input: unknown, problem: string): never {
  const message = input === undefined ? 'is missing' : problem;
  issues.push({ code: 'custom', message, input });
  return z.NEVER;
}

function countProblem(
  count: number,
  { minItems, maxItems }: { minItems: number; maxItems: number },
  parts: 'items' | 'entries',
): string | undefined {
  if (count >= minItems && count <= maxItems) return undefined;
  const wanted = minItems === maxItems ? `${minItems}` : `from ${minItems} to ${maxItems}`;
  return `must have ${wanted} ${parts}, and has ${count}`;
}

function numberSchema(type: NumberType): z.ZodType {
  const { whole, single, minimum, maximum, inRange, problem } = numberLimits(type);
  // One that is too large for a whole number of JavaScript would be called none.
  const number = z
    .number({
      error: ({ input }) => (input === undefined ? 'is missing' : problem + numberHint(input)),
    })
    .min(minimum, { error: inRange, abort: true })
    .max(maximum, { error: inRange, abort: true });
  return (whole ? number.int(problem) : number).transform(
    single ? (value) => Math.fround(value) + 0 : (value) => value + 0,
  );
}

/** A time comes as the number that Avro has for it, or as text, which becomes that number. */
function timeSchema(type: NumberType, { format, example, parse, show }: TimeText): z.ZodType {
  const { minimum, maximum } = numberLimits(type);
  const problem = `must be ${example} from ${show(minimum)} to ${show(maximum)}`;
  const number = z.number({ error: problem }).int(problem).min(minimum, problem).max(maximum, problem);
  const text = z
    .string({ error: problem })
    .meta({ format })
    .transform((value) => parse(value) ?? Number.NaN)
    .pipe(number);
  return z.union([number.transform((value) => value + 0), text], { error: missingOr(problem) });
}

function missingOr(problem: string): (issue: { input?: unknown }) => string {
  return (issue) => (issue.input === undefined ? 'is missing' : problem);
}

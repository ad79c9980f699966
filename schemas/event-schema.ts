import { z } from 'zod';
import { MillraceError } from '../platform/errors.js';
import type { AvroType, ContractField, RecordSchema } from './contracts.js';
import { numberHint } from './number-text.js';
import { lastDate, parseDay, parseTime, timeExample } from './times.js';

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
 * The validator of an event's fields, derived from its Avro contract: types, limits and doc strings are written once, there.
 * Integers must be whole numbers in Avro's range, numbers finite; a timestamp or date may be text; unknown fields are
 * refused; a nullable field or one with a default may be left out. The OpenAPI document is made from the same schema.
 *
 * What it gives back is what Avro gives back of it, to the bit: what is scored and answered is what the log has. So a
 * `float` is rounded to one, a zero has no sign, and text is well-formed Unicode.
 *
 * @throws MillraceError `CONTRACT_INVALID` for an Avro type that an event can't have over JSON (bytes, maps, arrays,
 *   records), and for a default that the field's own limits refuse.
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

/** Maximum number of invalid fields in an error. An event may have any number of unknown ones. */
const maxNamed = 100;

/** Returns the invalid fields of a failed parse by name, without duplicates, at most a hundred. */
export function fieldErrors(error: z.ZodError): FieldError[] {
  const problems = new Map<string, string>();
  for (const issue of error.issues) {
    const isUnknown = issue.code === 'unrecognized_keys';
    const problem = isUnknown ? 'is not a field of this event' : issue.message;
    for (const field of isUnknown ? issue.keys : [issue.path.join('.')]) {
      if (problems.size === maxNamed) break;
      if (!problems.has(field)) problems.set(field, problem);
    }
  }
  return [...problems].map(([field, problem]) => ({ field, problem }));
}

function fieldSchema(contract: RecordSchema, field: ContractField): z.ZodType {
  const schema = typeSchema(contract, field, field.type).describe(field.doc ?? '');
  if (!('default' in field)) return schema;
  const { data, error } = schema.safeParse(field.default);
  if (error === undefined) return schema.default(data);
  const problem = error.issues[0]?.message;
  throw new MillraceError(
    'CONTRACT_INVALID',
    `${contract.name}.${field.name} has the default ${JSON.stringify(field.default)}, which ${problem}.`,
  );
}

function typeSchema(contract: RecordSchema, field: ContractField, type: AvroType): z.ZodType {
  if (Array.isArray(type)) {
    const [branch, ...more] = type.filter((each) => each !== 'null');
    if (branch === undefined || more.length > 0 || !type.includes('null')) throw unsupported(contract, field);
    return typeSchema(contract, field, branch).nullable();
  }
  if (typeof type === 'object') {
    if (type.symbols !== undefined) {
      return z.enum(type.symbols, { error: missingOr(`must be one of ${type.symbols.join(', ')}`) });
    }
    const timeType = timeTypes[type.logicalType ?? ''];
    if (timeType !== undefined) return timeSchema(field, timeType);
    if (type.logicalType === 'uuid') return z.uuid({ error: missingOr(uuidProblem) });
    return typeSchema(contract, field, type.type);
  }
  switch (type) {
    case 'boolean':
      return z.boolean({ error: missingOr('must be true or false') });
    case 'string':
      return z
        .string({ error: missingOr('must be a string') })
        .max(field.maxLength ?? 10_000, `must not be longer than ${field.maxLength ?? 10_000} characters`)
        .refine(
          (text) => text.isWellFormed(),
          // Avro's text is UTF-8, which has none: another text would come back.
          'has half of a character (a lone surrogate)',
        );
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
    if (type.symbols !== undefined) {
      const symbols = new Set<unknown>(type.symbols);
      return (value) => symbols.has(value);
    }
    const timeType = timeTypes[type.logicalType ?? ''];
    if (timeType !== undefined) return numberCheck(field, timeType);
    // Seldom, and its pattern is the schema's.
    if (type.logicalType === 'uuid') return (value) => z.uuid().safeParse(value).success;
    return valueCheck(contract, field, type.type);
  }
  switch (type) {
    case 'null':
      return (value) => value === null;
    case 'boolean':
      return (value) => typeof value === 'boolean';
    case 'string':
      return (value) =>
        typeof value === 'string' && value.length <= (field.maxLength ?? 10_000) && value.isWellFormed();
    default: {
      const range = numberRanges[type];
      if (range === undefined) throw unsupported(contract, field);
      return numberCheck(field, range);
    }
  }
}

function numberCheck(field: ContractField, range: NumberRange): Check {
  const { whole, single } = range;
  const { minimum, maximum } = limitsOf(field, range);
  return (value) =>
    typeof value === 'number' &&
    value >= minimum &&
    value <= maximum &&
    (!whole || Number.isSafeInteger(value)) &&
    (single !== true || Math.fround(value) === value) &&
    !Object.is(value, -0);
}

interface NumberRange {
  kind: string;
  whole: boolean;
  /** Whether it is rounded to 32 bits. */
  single?: boolean;
  lowest: number;
  highest: number;
}

interface TimeType extends NumberRange {
  example: string;
  /** The number for a text. */
  parse: (text: string) => number | undefined;
  /** The text for a number. */
  format: (value: number) => string;
}

/** What avsc writes and gives back: it makes a positive number of one below this, as it works with twice the number. */
const longRange = { lowest: -(2 ** 52), highest: Number.MAX_SAFE_INTEGER - 1 };

const timestamp: TimeType = {
  kind: 'a time',
  example: `${timeExample}, or milliseconds since 1970,`,
  whole: true,
  lowest: longRange.lowest,
  highest: lastDate,
  parse: parseTime,
  format: (time) => new Date(time).toISOString(),
};

/** Avro's logical types of times that may be text in JSON and files, by name. */
const timeTypes: Record<string, TimeType> = {
  'timestamp-millis': timestamp,
  'local-timestamp-millis': timestamp,
  date: {
    ...timestamp,
    kind: 'a day',
    example: 'a day such as 2026-01-31, or days since 1970,',
    lowest: -1e8,
    highest: 1e8,
    parse: parseDay,
    format: (day) => new Date(day * 24 * 3_600_000).toISOString().replace('T00:00:00.000Z', ''),
  },
};

const uuidProblem = 'must be a UUID such as 123e4567-e89b-12d3-a456-426614174000';

const double = {
  kind: 'a number',
  whole: false,
  lowest: -Number.MAX_VALUE,
  highest: Number.MAX_VALUE,
};

const whole = { kind: 'a whole number', whole: true };

const numberRanges: Record<string, NumberRange> = {
  int: { ...whole, lowest: -(2 ** 31), highest: 2 ** 31 - 1 },
  long: { ...whole, ...longRange },
  float: { ...double, single: true, lowest: -3.4028235e38, highest: 3.4028235e38 },
  double,
};

/** A limit of a `float` includes the number that the log has for it. */
function limitsOf({ minimum, maximum }: ContractField, { single, lowest, highest }: NumberRange) {
  const [from, to] = [minimum ?? lowest, maximum ?? highest];
  if (single !== true) return { minimum: from, maximum: to };
  return { minimum: Math.min(from, Math.fround(from)), maximum: Math.max(to, Math.fround(to)) };
}

function numberSchema(field: ContractField, range: NumberRange): z.ZodType {
  const { lowest, highest, kind } = range;
  const { minimum, maximum } = limitsOf(field, range);
  const inRange = `must be ${kind} from ${field.minimum ?? lowest} to ${field.maximum ?? highest}`;
  const unlimited = field.minimum === undefined && field.maximum === undefined;
  const problem = unlimited ? `must be ${kind}` : inRange;
  // One that is too large for a whole number of JavaScript would be called none.
  const number = z
    .number({
      error: ({ input }) => (input === undefined ? 'is missing' : problem + numberHint(input)),
    })
    .min(minimum, { error: inRange, abort: true })
    .max(maximum, { error: inRange, abort: true });
  return (range.whole ? number.int(problem) : number).transform(
    range.single === true ? (value) => Math.fround(value) + 0 : (value) => value + 0,
  );
}

/** A time comes as the number that Avro has for it, or as text, which becomes that number. */
function timeSchema(field: ContractField, { lowest, highest, example, parse, format }: TimeType): z.ZodType {
  const { minimum = lowest, maximum = highest } = field;
  const problem = `must be ${example} from ${format(minimum)} to ${format(maximum)}`;
  const number = z.number({ error: problem }).int(problem).min(minimum, problem).max(maximum, problem);
  const text = z
    .string({ error: problem })
    .meta({ format: example.includes('day') ? 'date' : 'date-time' })
    .transform((value) => parse(value) ?? Number.NaN)
    .pipe(number);
  return z.union([number.transform((value) => value + 0), text], { error: missingOr(problem) });
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

import { z } from 'zod';
import type { RecordSchema } from './contracts.js';
import { type EventField, eventShape, type FieldType } from './field-types.js';
import { keyProblem } from './map-keys.js';
import { numberLimits, type NumberType } from './number-types.js';

type Check = (value: unknown) => boolean;

/**
 * A check that is quick where `eventSchema` is thorough: it passes only events that the schema would give
 * back as they are, fields in the contract's order and none left out. What it doesn't pass may still be one
 * for the schema.
 *
 * @throws MillraceError `CONTRACT_INVALID`.
 */
export function eventCheck(contract: RecordSchema): (event: unknown) => boolean {
  return recordCheck(eventShape(contract).fields);
}

/** Returns {@link eventCheck} for values of one type. */
export function valueCheck(type: FieldType): Check {
  const check = checkOf(type);
  return type.nullable ? (value) => value === null || check(value) : check;
}

function checkOf(type: FieldType): Check {
  switch (type.kind) {
    case 'boolean':
      return (value) => typeof value === 'boolean';
    case 'string': {
      const { maxLength } = type;
      return (value) => typeof value === 'string' && value.length <= maxLength && value.isWellFormed();
    }
    case 'uuid': {
      // Seldom, and its pattern is the schema's.
      const uuid = z.uuid();
      return (value) => uuid.safeParse(value).success;
    }
    case 'enum': {
      const symbols = new Set<unknown>(type.symbols);
      return (value) => symbols.has(value);
    }
    case 'array': {
      const { minItems, maxItems } = type;
      const item = valueCheck(type.items);
      return (value) =>
        Array.isArray(value) && value.length >= minItems && value.length <= maxItems && value.every(item);
    }
    case 'map':
      return mapCheck(type);
    case 'record':
      return recordCheck(type.fields);
    case 'int':
    case 'long':
    case 'float':
    case 'double':
      break;
  }
  return numberCheck(type);
}

function recordCheck(fields: readonly EventField[]): Check {
  const names = fields.map((field) => field.name);
  const checks = fields.map((field) => valueCheck(field.type));
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

/** Keys have to be in order: the schema sorts them. */
function mapCheck({ minItems, maxItems, values }: Extract<FieldType, { kind: 'map' }>): Check {
  const check = valueCheck(values);
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const entries = Object.entries(value);
    if (entries.length < minItems || entries.length > maxItems) return false;
    return entries.every(
      ([key, each], index) =>
        keyProblem(key) === undefined &&
        check(each) &&
        (index === 0 || key > (entries[index - 1]?.[0] ?? '')),
    );
  };
}

function numberCheck(type: NumberType): Check {
  const { whole, single, minimum, maximum } = numberLimits(type);
  return (value) =>
    typeof value === 'number' &&
    value >= minimum &&
    value <= maximum &&
    (!whole || Number.isSafeInteger(value)) &&
    (!single || Math.fround(value) === value) &&
    !Object.is(value, -0);
}

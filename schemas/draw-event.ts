import type { RecordSchema } from './contracts.js';
import { eventShape, type FieldType, type RecordShape } from './field-types.js';
import { numberLimits, type NumberType } from './number-types.js';

/** From 0 up to 1. */
type Random = () => number;

/** Share of nulls, where they are allowed. */
const nullShare = 0.1;

/** More items than an array, or entries than a map, has to have. */
const moreParts = 4;

/** Where times without limits begin, milliseconds since 1970. They end a year later. */
const firstTime = Date.UTC(2026, 0);

/**
 * Returns an event that fits a contract, in the form in which checks give it back: for tries of a pipeline
 * that has no sample. Numbers without limits are from 0 to 100, times from the year 2026.
 *
 * @param random - gives numbers from 0 up to 1; the same numbers give the same event.
 * @throws MillraceError `CONTRACT_INVALID`.
 */
export function drawEvent({ schema }: { schema: RecordSchema }, random: Random): object {
  return drawRecord(eventShape(schema), random);
}

function drawRecord({ fields }: RecordShape, random: Random): object {
  return Object.fromEntries(fields.map(({ name, type }) => [name, draw(type, random)]));
}

function draw(type: FieldType, random: Random): unknown {
  if (type.nullable && random() < nullShare) return null;
  switch (type.kind) {
    case 'boolean':
      return random() < 0.5;
    case 'enum':
      return type.symbols[pick(random, 0, type.symbols.length - 1)];
    case 'string':
      return drawText(random, Math.min(pick(random, 3, 10), type.maxLength));
    case 'uuid':
      return drawUuid(random);
    case 'array':
      return Array.from({ length: drawCount(type, random) }, () => draw(type.items, random));
    case 'map': {
      // Keys of one length are in order by their numbers.
      const keys = Array.from({ length: drawCount(type, random) }, (_, index) => `k${10_000 + index}`);
      return Object.fromEntries(keys.map((key) => [key, draw(type.values, random)]));
    }
    case 'record':
      return drawRecord(type, random);
    case 'int':
    case 'long':
    case 'float':
    case 'double':
      break;
  }
  return drawNumber(type, random);
}

function drawNumber(type: NumberType, random: Random): number {
  const { whole, single, minimum, maximum } = numberLimits(type);
  const [from, to] = usualRange(type);
  let lowest = type.minimum ?? Math.min(from, type.maximum ?? from);
  let highest = type.maximum ?? Math.max(to, lowest);
  [lowest, highest] = [Math.max(lowest, minimum), Math.min(highest, maximum)];
  if (whole) return pick(random, Math.ceil(lowest), Math.floor(highest));
  // Halves first: the range may be wider than the largest number.
  const value = lowest + 2 * (random() * (highest / 2 - lowest / 2));
  const drawn = Math.min(Math.max(value, minimum), maximum);
  const short = Number(drawn.toPrecision(4));
  const fits = short >= minimum && short <= maximum ? short : drawn;
  return (single ? Math.fround(fits) : fits) + 0;
}

/** Returns the range of values without limits. */
function usualRange({ time }: NumberType): [number, number] {
  if (time === undefined) return [0, 100];
  const unit = time === 'date' ? 24 * 3_600_000 : 1;
  return [firstTime / unit, firstTime / unit + (365 * 24 * 3_600_000) / unit];
}

function drawCount({ minItems, maxItems }: { minItems: number; maxItems: number }, random: Random): number {
  return pick(random, minItems, Math.min(maxItems, minItems + moreParts));
}

function drawText(random: Random, length: number): string {
  return Array.from({ length }, () => String.fromCharCode(97 + pick(random, 0, 25))).join('');
}

function drawUuid(random: Random): string {
  const hex = Array.from({ length: 32 }, () => pick(random, 0, 15).toString(16)).join('');
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-4$3-8$4-$5');
}

/** Returns a whole number in a range, both ends included. */
function pick(random: Random, lowest: number, highest: number): number {
  return Math.min(lowest + Math.floor(random() * (highest - lowest + 1)), highest) + 0;
}

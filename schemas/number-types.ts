import type { FieldType, NumberKind, TimeKind } from './field-types.js';
import { lastDate, parseDay, parseTime, timeExample } from './times.js';

/** The type of a number, or of a time that Avro has as a number. */
export type NumberType = Extract<FieldType, { kind: NumberKind }>;

export function isNumberType(type: FieldType): type is NumberType {
  return type.kind in ranges;
}

interface NumberRange {
  /** What a value must be, in words. */
  kind: string;
  whole: boolean;
  /** Whether it is rounded to 32 bits. */
  single?: boolean;
  lowest: number;
  highest: number;
}

/**
 * What avsc writes and gives back: it makes a positive number of one below this, as it works with twice the
 * number.
 */
const longRange = { lowest: -(2 ** 52), highest: Number.MAX_SAFE_INTEGER - 1 };

const double = {
  kind: 'a number',
  whole: false,
  lowest: -Number.MAX_VALUE,
  highest: Number.MAX_VALUE,
};

const whole = { kind: 'a whole number', whole: true };

const ranges: Record<NumberKind, NumberRange> = {
  int: { ...whole, lowest: -(2 ** 31), highest: 2 ** 31 - 1 },
  long: { ...whole, ...longRange },
  float: { ...double, single: true, lowest: -3.4028235e38, highest: 3.4028235e38 },
  double,
};

/** How a time is written in text. */
export interface TimeText {
  /** Its format in JSON Schema. */
  format: 'date-time' | 'date';
  example: string;
  /** Returns the number for a text; undefined if it is none. */
  parse: (text: string) => number | undefined;
  /** Returns the text for a number. */
  show: (value: number) => string;
}

const timestampText: TimeText = {
  format: 'date-time',
  example: `${timeExample}, or milliseconds since 1970,`,
  parse: parseTime,
  show: (time) => new Date(time).toISOString(),
};

const timestamp = { kind: 'a time', whole: true, lowest: longRange.lowest, highest: lastDate };

const times: Record<TimeKind, NumberRange & { text: TimeText }> = {
  'timestamp-millis': { ...timestamp, text: timestampText },
  'local-timestamp-millis': { ...timestamp, text: timestampText },
  date: {
    kind: 'a day',
    whole: true,
    lowest: -1e8,
    highest: 1e8,
    text: {
      format: 'date',
      example: 'a day such as 2026-01-31, or days since 1970,',
      parse: parseDay,
      show: (day) => timestampText.show(day * 24 * 3_600_000).replace('T00:00:00.000Z', ''),
    },
  },
};

/** The numbers that a type allows, and how to say so. */
export interface NumberLimits {
  whole: boolean;
  single: boolean;
  /** Inclusive. A limit of a `float` includes the number that the log has for it. */
  minimum: number;
  maximum: number;
  /** What a value must be, and the limits as the contract has them. */
  inRange: string;
  /** What a value must be, with limits only if the contract has some. */
  problem: string;
}

export function numberLimits(type: NumberType): NumberLimits {
  const { kind, whole: isWhole, single = false, lowest, highest } = rangeOf(type);
  const { minimum = lowest, maximum = highest } = type;
  const inRange = `must be ${kind} from ${minimum} to ${maximum}`;
  const isUnlimited = type.minimum === undefined && type.maximum === undefined;
  return {
    whole: isWhole,
    single,
    minimum: single ? Math.min(minimum, Math.fround(minimum)) : minimum,
    maximum: single ? Math.max(maximum, Math.fround(maximum)) : maximum,
    inRange,
    problem: isUnlimited ? `must be ${kind}` : inRange,
  };
}

/** Returns how a time of this type is written; undefined for numbers that are no times. */
export function timeText({ time }: NumberType): TimeText | undefined {
  return time && times[time].text;
}

function rangeOf({ kind, time }: NumberType): NumberRange {
  if (time === undefined) return ranges[kind];
  const range = times[time];
  // A day may be a long, and no type is wider than its own numbers.
  return {
    ...range,
    lowest: Math.max(range.lowest, ranges[kind].lowest),
    highest: Math.min(range.highest, ranges[kind].highest),
  };
}

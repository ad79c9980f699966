import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { GivenPredictions } from '../../models/graphs/golden-rows.js';
import type { Feature } from '../../models/input-encoder.js';
import type { ModelInput } from '../../models/manifest.js';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { type AssignedInput, parseList } from './assign-inputs.js';
import { rangeOf } from './infer-contract.js';
import { type Sample, unknownColumn } from './sample-file.js';
import { columnValues, type Value } from './sample-values.js';

/** Files with `{ text: number }` by the column that they encode. */
export type EncodingFiles = ReadonlyMap<string, string>;

export interface ModelRows {
  inputs: ModelInput[];
  rows: { number: number; features: Feature[] }[];
  predictions?: GivenPredictions;
}

/**
 * Returns the inputs of model.json and the values of the sample for them.
 *
 * @throws MillraceError `FILE_INVALID` for values that do not fit an input.
 */
export function modelRows(
  sample: Sample | undefined,
  assigned: readonly AssignedInput[],
  encodings: ReadonlyMap<string, Record<string, number>>,
  predictions: readonly string[],
): ModelRows {
  const values = assigned.map((input) => valuesOf(sample, input, encodings));
  const inputs = assigned.map(({ name, column, dtype, tensor, shape }, at): ModelInput => {
    const range = encodings.has(column) ? undefined : seenRange(values[at] ?? []);
    const encoding = encodings.get(column);
    return {
      name,
      dtype,
      ...(tensor === undefined ? {} : { tensor }),
      ...(shape === undefined ? {} : { shape }),
      ...(range === undefined ? {} : { range }),
      ...(encoding === undefined ? {} : { encoding }),
    };
  });
  const rows = (sample?.rows ?? []).map(({ number }, index) => ({
    number,
    features: values.map((each) => each[index] as Feature),
  }));
  if (sample === undefined || predictions.length === 0) return { inputs, rows };
  return { inputs, rows, predictions: givenPredictions(sample, predictions) };
}

/** A column of lists has a prediction with several numbers. */
function givenPredictions({ rows }: Sample, columns: readonly string[]): GivenPredictions {
  const values = rows.map((row) => columns.flatMap((column) => elementsOf(row.values.get(column))));
  const [only] = columns;
  const width = Math.max(...values.map(({ length }) => length));
  if (columns.length > 1 || only === undefined || width === 1) return { columns, rows: values };
  // A row without a list has no prediction.
  const lists = values.map((each) => (each.length === width ? each : Array.from({ length: width })));
  return { columns: lists[0]?.map((_, index) => `${only}[${index}]`) ?? [], rows: lists };
}

function elementsOf(value: Value): Value[] {
  const list = typeof value === 'string' && value.trim().startsWith('[') ? parseList(value) : value;
  return Array.isArray(list) ? (list as unknown[]).flat(16) : [value];
}

function valuesOf(
  sample: Sample | undefined,
  { column, dtype, shape }: AssignedInput,
  encodings: ReadonlyMap<string, Record<string, number>>,
): Value[] {
  if (sample === undefined) return [];
  return columnValues(sample, column, {
    dtype,
    isList: shape !== undefined,
    isEncoded: encodings.has(column),
  });
}

function seenRange(values: readonly Value[]): [number, number] | undefined {
  const numbers = values.flatMap((value) => (Array.isArray(value) ? (value as unknown[]).flat(16) : [value]));
  const given = numbers.filter((each) => typeof each === 'number');
  return given.length === 0 ? undefined : rangeOf(given);
}

/** Columns with these names are predictions, unless the graph has an input of that name. */
const predictionName = /^(?:y_?pred(?:icted)?|pred(?:iction|icted)?)(?:[._].*)?$/i;

/** Returns the columns with predictions: those that are named, or else those with a usual name. */
export function predictionColumns(
  sample: Sample | undefined,
  named: readonly string[],
  inputs: readonly string[],
): string[] {
  if (named.length > 0 || sample === undefined) return [...named];
  return sample.columns.filter((column) => predictionName.test(column) && !inputs.includes(column));
}

const encodingSchema = z.record(z.string().min(1), z.number());

/**
 * Reads the numbers for the texts of columns.
 *
 * @throws MillraceError `FILE_UNREADABLE`, or `FILE_INVALID` for a column that the sample does not have.
 */
export async function readEncodings(
  files: EncodingFiles,
  sample: Sample | undefined,
): Promise<Map<string, Record<string, number>>> {
  const encodings = new Map<string, Record<string, number>>();
  for (const [column, file] of files) {
    if (sample !== undefined && !sample.columns.includes(column))
      throw unknownColumn(sample, column, '--encode');
    try {
      encodings.set(column, encodingSchema.parse(JSON.parse(await readFile(file, 'utf8'))));
    } catch (error) {
      const problem =
        error instanceof z.ZodError ? 'it is not an object of texts and numbers' : messageOf(error);
      throw new MillraceError(
        'FILE_UNREADABLE',
        `Cannot read the numbers for ${column} from ${file}: ${problem}. It has to be such as {"red": 0, "blue": 1}.`,
        { cause: error },
      );
    }
  }
  return encodings;
}

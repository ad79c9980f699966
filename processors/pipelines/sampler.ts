import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { MillraceError, messageOf } from '../../platform/errors.js';
import { JsonFile } from '../../platform/json-file.js';

export { seededRandom } from '../../platform/seeded-random.js';

const text = z.string().min(1);
const shareSchema = z.number().min(0).max(1);
const valueSchema = z.union([z.string(), z.number(), z.boolean(), z.null()]);

/** Distribution of one column of a training table: see `docs/projects.md`, "Figures". */
const columnSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('numeric'),
    name: text,
    step: z.number().positive(),
    quantiles: z.array(z.number()),
  }),
  z.strictObject({
    kind: z.literal('categorical'),
    name: text,
    frequencies: z.record(z.string(), shareSchema),
  }),
  z.strictObject({
    kind: z.literal('text'),
    name: text,
    frequencies: z.array(z.tuple([z.string(), shareSchema])).min(1),
  }),
  // Values of several fields that go together: one value for each of `fields`, and their frequency.
  z.strictObject({
    kind: z.literal('joint'),
    name: text,
    fields: z.array(text).min(1),
    frequencies: z.array(z.tuple([z.array(valueSchema), shareSchema])).min(1),
  }),
]);

const figuresSchema = z
  .strictObject({
    /** The probabilities of `quantiles`. */
    probabilities: z.array(shareSchema).min(2),
    columns: z.array(columnSchema).min(1),
    /** Of the columns' normal scores. */
    correlation: z.array(z.array(z.number())),
  })
  .superRefine(({ probabilities, columns, correlation }, context) => {
    const refuse = (path: (string | number)[], message: string): void =>
      context.addIssue({ code: 'custom', path, message });
    columns.forEach((column, index) => {
      if (column.kind === 'numeric' && column.quantiles.length !== probabilities.length)
        refuse(
          ['columns', index, 'quantiles'],
          `has to have ${probabilities.length} values, as probabilities`,
        );
      if (
        column.kind === 'joint' &&
        column.frequencies.some(([values]) => values.length !== column.fields.length)
      )
        refuse(
          ['columns', index, 'frequencies'],
          `has to have ${column.fields.length} values each, as fields`,
        );
    });
    if (correlation.length !== columns.length || correlation.some((row) => row.length !== columns.length))
      refuse(['correlation'], `has to have ${columns.length} rows and columns, one for each of columns`);
    else if (cholesky(correlation).some((row, index) => !((row[index] ?? Number.NaN) > 0)))
      refuse(['correlation'], 'has to be positive definite');
  });

type ColumnFigures = z.infer<typeof columnSchema>;

/** Maps a source of numbers from 0 up to 1 to an event. */
export type Sampler<Event> = (random: () => number) => Event;

/**
 * Draws realistic events from figures of a training table, with the same distribution of each column and the
 * same correlations (a Gaussian copula; Nelsen, "An Introduction to Copulas", section 2.3).
 *
 * @param file - JSON, as `models/training/figures.py` writes it.
 * @returns a function from a source of numbers from 0 up to 1 to an event; the same numbers give the same
 *   event.
 * @throws MillraceError `PIPELINE_INVALID` if the file can't be read or is no such file.
 */
export function loadSampler<Event>(file: string): Sampler<Event> {
  const { probabilities, columns, correlation } = readFigures(file);
  const factor = cholesky(correlation);
  return (random) => {
    const normals = columns.map(() => standardNormal(random));
    const values = columns.flatMap((column, index) => {
      const score = (factor[index] ?? []).reduce((sum, weight, k) => sum + weight * (normals[k] ?? 0), 0);
      return quantile(column, probabilities, normalShare(score));
    });
    return Object.fromEntries(values) as Event;
  };
}

function readFigures(file: string): z.infer<typeof figuresSchema> {
  let json: string;
  try {
    json = readFileSync(file, 'utf8');
  } catch (error) {
    throw new MillraceError('PIPELINE_INVALID', `Cannot read the figures ${file}: ${messageOf(error)}.`, {
      cause: error,
    });
  }
  return new JsonFile(json, file, 'PIPELINE_INVALID').check(figuresSchema);
}

function quantile(
  column: ColumnFigures,
  probabilities: readonly number[],
  at: number,
): (readonly [field: string, value: unknown])[] {
  if (column.kind === 'text') return [[column.name, pick(column.frequencies, at)]];
  if (column.kind === 'joint') {
    const values = pick(column.frequencies, at);
    return column.fields.map((field, index) => [field, values?.[index]]);
  }
  if (column.kind === 'categorical') {
    const codes = Object.entries(column.frequencies).toSorted(([a], [b]) => Number(a) - Number(b));
    return [[column.name, Number(pick(codes, at))]];
  }
  const steps = Math.round(interpolate(probabilities, column.quantiles, at) / column.step);
  return [[column.name, steps * column.step]];
}

/**
 * Returns the value at a probability of a distribution, linearly between its known quantiles.
 *
 * @param probabilities - ascending, from 0 to 1.
 * @param quantiles - the values at the probabilities.
 * @param share - the probability; a random number from 0 up to 1 draws from the distribution.
 */
export function interpolate(
  probabilities: readonly number[],
  quantiles: readonly number[],
  share: number,
): number {
  const upper = Math.max(
    1,
    probabilities.findIndex((probability) => probability >= share),
  );
  const [p0 = 0, p1 = 1] = probabilities.slice(upper - 1, upper + 1);
  const [q0 = 0, q1 = 0] = quantiles.slice(upper - 1, upper + 1);
  return q0 + ((share - p0) / (p1 - p0)) * (q1 - q0);
}

/**
 * Returns a value as often as its frequency says.
 *
 * @param frequencies - of values, which add up to 1.
 * @param at - a random number from 0 up to 1: the first value is returned whose cumulated frequency reaches
 *   it.
 */
export function pick<Value>(
  frequencies: readonly (readonly [Value, number, ...unknown[]])[],
  at: number,
): Value | undefined {
  let cumulated = 0;
  const found = frequencies.find(([, frequency]) => (cumulated += frequency) >= at);
  return (found ?? frequencies.at(-1))?.[0];
}

/** Returns the lower triangular factor L of a positive definite matrix, L·Lᵀ. */
function cholesky(matrix: readonly number[][]): number[][] {
  const factor: number[][] = [];
  for (const [i, row] of matrix.entries()) {
    const line: number[] = [];
    for (let j = 0; j <= i; j++) {
      const other = j === i ? line : (factor[j] ?? []);
      const rest = (row[j] ?? 0) - line.reduce((sum, value, k) => sum + value * (other[k] ?? 0), 0);
      line.push(j === i ? Math.sqrt(rest) : rest / (other[j] ?? 1));
    }
    factor.push(line);
  }
  return factor;
}

/** Box and Muller's transform of two uniform numbers. */
function standardNormal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The normal distribution function, by Abramowitz and Stegun's formula 26.2.17 (error below 7.5e-8). */
function normalShare(x: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const tail =
    ((((1.330274429 * t - 1.821255978) * t + 1.781477937) * t - 0.356563782) * t + 0.31938153) *
    t *
    Math.exp((-x * x) / 2) *
    0.3989422804014327;
  return x >= 0 ? 1 - tail : tail;
}

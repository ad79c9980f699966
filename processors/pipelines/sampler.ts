import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../platform/paths.js';

/** Distribution of one column of a training table: see `models/training/README.md`, "Figures". */
type ColumnFigures =
  | { name: string; kind: 'numeric'; step: number; quantiles: number[] }
  | { name: string; kind: 'categorical'; frequencies: Record<string, number> }
  | { name: string; kind: 'text'; frequencies: [text: string, frequency: number][] };

interface Figures {
  /** The probabilities of `quantiles`. */
  probabilities: number[];
  columns: ColumnFigures[];
  /** Of the columns' normal scores. */
  correlation: number[][];
}

/** Maps a source of numbers from 0 up to 1 to an event. */
export type Sampler<Event> = (random: () => number) => Event;

/**
 * Draws realistic events from figures of a training table, with the same distribution of each column and the
 * same correlations (a Gaussian copula; Nelsen, "An Introduction to Copulas", section 2.3).
 *
 * @param name - of the figures in `models/training/figures/`.
 * @returns a function from a source of numbers from 0 up to 1 to an event; the same numbers give the same
 *   event.
 */
export function loadSampler<Event>(name: string): Sampler<Event> {
  const { probabilities, columns, correlation } = readFigures(name) as Figures;
  const factor = cholesky(correlation);
  return (random) => {
    const normals = columns.map(() => standardNormal(random));
    const values = columns.map((column, index) => {
      const score = (factor[index] ?? []).reduce((sum, weight, k) => sum + weight * (normals[k] ?? 0), 0);
      return [column.name, quantile(column, probabilities, normalShare(score))];
    });
    return Object.fromEntries(values) as Event;
  };
}

/** @param name - of the file in `models/training/figures/`. */
export function readFigures(name: string): unknown {
  const file = join(packageRoot, 'models', 'training', 'figures', `${name}.json`);
  return JSON.parse(readFileSync(file, 'utf8')) as unknown;
}

/**
 * Returns numbers from 0 up to 1 that a seed determines: the generator mulberry32, sufficient for samples,
 * not for secrets.
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function quantile(column: ColumnFigures, probabilities: readonly number[], share: number): number | string {
  if (column.kind === 'text') return pick(column.frequencies, share);
  if (column.kind === 'categorical') {
    const codes = Object.entries(column.frequencies).toSorted(([a], [b]) => Number(a) - Number(b));
    return Number(pick(codes, share));
  }
  return Math.round(interpolate(probabilities, column.quantiles, share) / column.step) * column.step;
}

/**
 * Returns the value at a probability, interpolated linearly between the `quantiles` at the `probabilities`.
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

/** Returns the first value whose cumulated frequency reaches the share. */
export function pick(
  frequencies: readonly (readonly [string, number, ...unknown[]])[],
  share: number,
): string {
  let cumulated = 0;
  const found = frequencies.find(([, frequency]) => (cumulated += frequency) >= share);
  return (found ?? frequencies.at(-1))?.[0] ?? '';
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

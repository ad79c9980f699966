import { MillraceError, messageOf } from '../platform/errors.js';
import { drawRows } from './drawn-rows.js';
import { encoderOf, type Feature } from './input-encoder.js';
import type { GoldenRow, ModelManifest } from './manifest.js';
import type { RowResult } from './micro-batcher.js';
import type { ModelOutput, OutputValue } from './outputs.js';
import { implausible } from './plausibility.js';
import type { ModelArtifact } from './registry.js';
import { elementDtype, type ModelRow } from './tensors.js';

interface AnsweredRow {
  row: ModelRow;
  result: ModelOutput;
}

/** Trees sum float32 values of the size of the largest prediction. */
const float32Tolerance = 1e-5;
/** float16 has 11 bits: a step is up to 1e-3 of a number. */
const float16Tolerance = 2e-3;

/**
 * Verifies every golden row alone, then all in one batch. Also warms up the model.
 *
 * @returns the answers.
 * @throws MillraceError `MODEL_REFUSED` with the first row that is not reproduced.
 */
export async function proveGolden(
  { folder, manifest, golden }: ModelArtifact,
  predict: (rows: readonly ModelRow[]) => Promise<RowResult[]>,
): Promise<ModelOutput[]> {
  const refused = (problem: string, advice: string, cause?: unknown) =>
    new MillraceError(
      'MODEL_REFUSED',
      `Model ${manifest.name} ${manifest.version} (${folder}) was rejected: ${problem}. ${advice}.`,
      { cause },
    );
  const run = async (rows: readonly ModelRow[], what: string) => {
    try {
      return await predict(rows);
    } catch (error) {
      if (error instanceof MillraceError && error.retriable) throw error;
      throw refused(`${what}: ${messageOf(error)}`, notRunAdvice, error);
    }
  };
  const largest = golden.rows.reduce((size, { prediction }) => Math.max(size, Math.abs(prediction)), 1);
  const tolerance = golden.tolerance ?? defaultTolerance(manifest);
  const check = (index: number, got: RowResult | undefined, how: string) => {
    const expected = golden.rows[index];
    if (expected === undefined || got === undefined) {
      throw refused(`golden row ${index} ${how} has no answer`, notRunAdvice);
    }
    if (got instanceof MillraceError) {
      throw refused(`golden row ${index} ${how} has no score: ${got.message}`, noScoreAdvice, got);
    }
    const problem = difference(got, expected, tolerance * largest, tolerance);
    if (problem !== undefined) {
      throw refused(
        `golden row ${index} ${how} ${problem}`,
        golden.independent === false ? changedAdvice : differsAdvice,
      );
    }
    const nonsense = implausible(manifest.output, got);
    if (nonsense !== undefined) throw refused(`golden row ${index} ${how} ${nonsense}`, scaleAdvice);
  };
  const rows = golden.rows.map(({ features }, index) => {
    const row = encoderOf(manifest).encode(features as Feature[]);
    if (row instanceof MillraceError)
      throw refused(`golden row ${index}: ${row.message}`, notEncodedAdvice, row);
    return row;
  });
  for (const [index, row] of rows.entries()) {
    check(index, (await run([row], `golden row ${index}`))[0], 'alone');
  }
  const results = await run(rows, 'the golden rows as a batch');
  rows.forEach((_, index) => check(index, results[index], 'in a batch'));
  for (const { row, result } of await tryRows(drawRows(rows), predict)) {
    const nonsense = implausible(manifest.output, result);
    if (nonsense === undefined) continue;
    throw refused(`a row of values from golden rows, ${brief(row)}, ${nonsense}`, scaleAdvice);
  }
  return results.filter((result): result is ModelOutput => !(result instanceof MillraceError));
}

const differsAdvice = 'The graph differs from the trained model: export it again';
const changedAdvice =
  'golden.json has what the graph itself returned before: use that graph, or make golden.json again';
const notRunAdvice =
  'The graph cannot run its own golden rows: correct the inputs in model.json or the values in golden.json, or export the graph so that it takes any number of rows';
const noScoreAdvice =
  'Each output has to be a finite number, and each label a class of model.json: correct model.json, or export the graph again';
const scaleAdvice =
  'Export the graph with a probability as its output, or set "scale" of the output in model.json to "number"';
const notEncodedAdvice = 'Correct golden.json, or the input in model.json';

/**
 * Scores rows that may be impossible together: one that the graph fails on, or has no number for, such as the
 * logarithm of a negative difference, is left out, as it would be as an event.
 *
 * @throws a retriable error of the model.
 */
async function tryRows(
  rows: readonly ModelRow[],
  predict: (rows: readonly ModelRow[]) => Promise<RowResult[]>,
): Promise<AnsweredRow[]> {
  if (rows.length === 0) return [];
  try {
    const results = await predict(rows);
    return results.flatMap((result, index) =>
      result instanceof MillraceError ? [] : [{ row: rows[index] ?? [], result }],
    );
  } catch (error) {
    if (!(error instanceof MillraceError) || error.retriable) throw error;
    if (rows.length === 1) return [];
    const alone: AnsweredRow[] = [];
    for (const row of rows) alone.push(...(await tryRows([row], predict)));
    return alone;
  }
}

function defaultTolerance({ inputs, output, runtime }: ModelManifest): number {
  const halves =
    output.dtype === 'float16' || inputs.some((input) => elementDtype(input, runtime) === 'float16');
  return halves ? float16Tolerance : float32Tolerance;
}

/** Characters of a value in an error. */
const maxShown = 300;

/** Returns how an answer differs from a golden row, or undefined if it does not. */
function difference(
  { score, label, outputs }: ModelOutput,
  golden: GoldenRow,
  allowed: number,
  tolerance: number,
): string | undefined {
  // The negation also rejects NaN.
  if (!(Math.abs(score - golden.prediction) <= allowed)) {
    return `returns ${score}, expected ${golden.prediction} within ${allowed}`;
  }
  if (golden.label !== undefined && golden.label !== label) {
    return `has the label ${label}, expected ${golden.label}`;
  }
  for (const [name, expected] of Object.entries(golden.outputs ?? {})) {
    const got = outputs[name];
    if (got === undefined || !isClose(got, expected, tolerance)) {
      return `returns ${name} ${brief(got)}, expected ${brief(expected)}`;
    }
  }
  return undefined;
}

/** An array input or a vector may have any length. */
function brief(value: unknown): string {
  const json = value === undefined ? 'nothing' : JSON.stringify(value);
  return json.length > maxShown ? `${json.slice(0, maxShown)}…` : json;
}

function isClose(got: OutputValue, expected: unknown, tolerance: number): boolean {
  if (typeof got === 'number' && typeof expected === 'number') {
    return Math.abs(got - expected) <= tolerance * Math.max(1, Math.abs(expected));
  }
  if (typeof got !== 'object' || typeof expected !== 'object' || expected === null) return got === expected;
  const [ours, theirs] = [Object.entries(got), Object.entries(expected)];
  return (
    Array.isArray(got) === Array.isArray(expected) &&
    ours.length === theirs.length &&
    ours.every(
      ([key, value]) =>
        Object.hasOwn(expected, key) && isClose(value, (expected as Record<string, unknown>)[key], tolerance),
    )
  );
}

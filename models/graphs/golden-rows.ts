import { MillraceError } from '../../platform/errors.js';
import type { Golden, GoldenRow, ModelManifest } from '../manifest.js';
import type { ModelOutput, OutputValue } from '../outputs.js';

/** Predictions of the training library, from columns of a sample. */
export interface GivenPredictions {
  columns: readonly string[];
  /** For each row the values of these columns. A row with a missing one is left out. */
  rows: readonly (readonly unknown[])[];
}

/** A row with the graph's own answer. */
export interface AnsweredRow {
  /** Position in the sample, from 1. */
  number: number;
  features: GoldenRow['features'];
  answer: ModelOutput;
  /** What the sample says, by column. */
  given?: readonly unknown[] | undefined;
}

export interface MadeGolden {
  golden: Golden;
  notes: string[];
}

/** Maximum number of golden rows. Each is run on its own at every load. */
const maxRows = 50;

/** Allowed differences, relative to the largest prediction (at least 1). */
const tolerances = [1e-5, 1e-4, 1e-3, 1e-2];

/** What a row of the sample is expected to give. */
type Expected = Pick<GoldenRow, 'prediction' | 'label' | 'outputs'>;
type Reading = { what: string; expect: (row: AnsweredRow) => Expected | undefined };

/**
 * Makes golden rows: with the predictions in the sample, else with the graph's own.
 *
 * @param columns - names of the columns with predictions; empty if there are none.
 * @throws MillraceError `FILE_INVALID` if the predictions are not those of the graph.
 */
export function makeGolden(
  { output }: Pick<ModelManifest, 'output'>,
  rows: readonly AnsweredRow[],
  columns: readonly string[],
): MadeGolden {
  const picked = spread(rows, maxRows);
  const own = picked.map(({ features, answer }) => ({
    features,
    prediction: answer.score,
    label: answer.label,
    outputs: answer.outputs,
  }));
  if (columns.length === 0) {
    const note =
      'The golden rows have the predictions of the graph itself ("independent": false): they show later changes, but not whether the export is right. Give the predictions of the training library with --prediction.';
    return { golden: { independent: false, rows: own }, notes: [note] };
  }
  const complete = rows.filter(({ given }) =>
    given?.every((value) => value !== null && value !== undefined && value !== ''),
  );
  if (complete.length === 0)
    throw invalid(`The sample has no row with a value in each of ${columns.join(', ')}`);
  const all = readings(output, complete, columns);
  const scored = all
    .map((reading) => ({ ...reading, ...worst(reading, complete) }))
    .toSorted((a, b) => a.error - b.error);
  const [best] = scored;
  if (best === undefined) throw unreadable(output, columns, complete);
  const tolerance = tolerances.find((each) => best.error <= each);
  if (tolerance === undefined) throw differs(best, columns);
  const notes = [
    `${best.what}. The graph reproduces ${complete.length === 1 ? 'the row' : `all ${complete.length} rows`}${tolerance > 1e-5 ? ` within ${tolerance}` : ''}.`,
  ];
  const isLabels = complete.every(
    (row) => best.expect(row)?.prediction === undefined || best.what.includes('label'),
  );
  const golden: Golden = {
    ...(isLabels ? { independent: false } : {}),
    ...(tolerance > 1e-5 ? { tolerance } : {}),
    rows: spread(complete, maxRows).map((row) => ({
      features: row.features,
      ...(best.expect(row) ?? { prediction: row.answer.score }),
    })),
  };
  return { golden, notes };
}

/** What the columns may mean for this output. */
function readings(
  { name, classes }: ModelManifest['output'],
  rows: readonly AnsweredRow[],
  columns: readonly string[],
): Reading[] {
  const [column] = columns;
  const numbers = rows.every(({ given = [] }) => given.every((value) => isNumber(value)));
  const single = columns.length === 1;
  const labels = new Set(classes);
  const areLabels =
    single &&
    rows.some(({ answer }) => answer.label !== null) &&
    rows.every(({ given = [] }) =>
      classes === undefined ? !isNumber(given[0]) : labels.has(labelText(given[0])),
    );
  if (areLabels) {
    return [
      {
        what: `The column ${column} has the labels, which the golden rows take over; their numbers are the graph's own ("independent": false)`,
        expect: ({ given = [], answer }) => ({ prediction: answer.score, label: labelText(given[0]) }),
      },
    ];
  }
  if (!numbers) return [];
  if (single) {
    const ofClass = classes?.length === 2 ? classes : [];
    return [
      {
        what: `The golden rows have the predictions in the column ${column}`,
        expect: ({ given = [] }) => ({ prediction: Number(given[0]) }),
      },
      ...ofClass.map((each): Reading => ({
        what: `The golden rows have the probabilities of ${each} in the column ${column}`,
        expect: ({ given = [], answer }) =>
          ofShares(
            name,
            classes ?? [],
            classes?.map((one) => (one === each ? Number(given[0]) : 1 - Number(given[0]))) ?? [],
            answer,
          ),
      })),
    ];
  }
  if (classes?.length === columns.length) {
    const order = orderOf(classes, columns);
    return [
      {
        what: `The golden rows have the probabilities in the columns ${order.map((at) => columns[at]).join(', ')}`,
        expect: ({ given = [], answer }) =>
          ofShares(
            name,
            classes,
            order.map((at) => Number(given[at])),
            answer,
          ),
      },
    ];
  }
  const vector: Reading = {
    what: `The golden rows have the numbers in the columns ${columns.join(', ')}`,
    expect: ({ given = [], answer }) => {
      const value = given.map(Number);
      const main = answer.outputs[name];
      return Array.isArray(main) && main.length === value.length
        ? { prediction: value[0] ?? Number.NaN, outputs: { [name]: value } }
        : undefined;
    },
  };
  return rows.every((row) => vector.expect(row) !== undefined) ? [vector] : [];
}

/**
 * The label is the graph's: for equal probabilities, or a rule of its own, the largest one does not say it.
 */
function ofShares(
  name: string,
  classes: readonly string[],
  shares: readonly number[],
  { label }: ModelOutput,
): Expected {
  const prediction = shares[classes.indexOf(label ?? '')] ?? Number.NaN;
  return {
    prediction,
    label,
    outputs: { [name]: Object.fromEntries(classes.map((each, at) => [each, shares[at] ?? Number.NaN])) },
  };
}

/** Returns for each class the position of its column: that which ends with its name, else in order. */
function orderOf(classes: readonly string[], columns: readonly string[]): number[] {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, '_');
  const found = classes.map((each) =>
    columns.findIndex((column) => plain(column) === plain(each) || plain(column).endsWith(`_${plain(each)}`)),
  );
  return found.includes(-1) || new Set(found).size < found.length ? classes.map((_, at) => at) : found;
}

interface Worst {
  /** Relative to the largest prediction. */
  error: number;
  row: AnsweredRow;
  expected: unknown;
  got: unknown;
}

function worst({ expect }: Reading, rows: readonly AnsweredRow[]): Worst {
  const expectations = rows.map((row) => ({ row, expected: expect(row) }));
  const largest = expectations.reduce(
    (size, { expected }) => Math.max(size, Math.abs(expected?.prediction ?? 0)),
    1,
  );
  let found: Worst | undefined;
  for (const { row, expected } of expectations) {
    const { score, label, outputs } = row.answer;
    const differences: Omit<Worst, 'row'>[] = [
      {
        error: Math.abs(score - (expected?.prediction ?? Number.NaN)) / largest,
        expected: expected?.prediction,
        got: score,
      },
      ...(expected?.label === undefined || expected.label === label
        ? []
        : [{ error: Infinity, expected: expected.label, got: label }]),
      ...Object.entries(expected?.outputs ?? {}).map(([name, value]) => ({
        error: distance(outputs[name], value),
        expected: value,
        got: outputs[name],
      })),
    ];
    for (const each of differences) {
      const error = Number.isNaN(each.error) ? Infinity : each.error;
      if (found === undefined || error > found.error) found = { ...each, error, row };
    }
  }
  if (found === undefined) throw new Error('unreachable: there are rows');
  return found;
}

function distance(got: OutputValue | undefined, expected: unknown): number {
  if (typeof got === 'number' && typeof expected === 'number')
    return Math.abs(got - expected) / Math.max(1, Math.abs(expected));
  if (typeof got !== 'object' || typeof expected !== 'object' || expected === null)
    return got === expected ? 0 : Infinity;
  return Math.max(
    0,
    ...Object.entries(expected).map(([key, value]) =>
      distance((got as Record<string, OutputValue>)[key], value),
    ),
  );
}

function isNumber(value: unknown): boolean {
  return (
    typeof value === 'number' ||
    (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)))
  );
}

/** Python and pandas write whole numbers as `1.0` where values are missing. */
function labelText(value: unknown): string {
  if (typeof value === 'boolean') return String(value);
  const text = String(value).trim();
  return /^-?\d+\.0+$/.test(text) ? String(Number(text)) : text;
}

/** Returns items from the whole list, evenly. */
function spread<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  return Array.from(
    { length: count },
    (_, index) => items[Math.floor((index * items.length) / count)],
  ).filter((each) => each !== undefined);
}

function differs({ row, expected, got }: Worst, columns: readonly string[]): MillraceError {
  return invalid(
    `Row ${row.number} of the sample has ${short(expected)} in ${columns.join(', ')}, and the graph gives ${short(got)}. Check that the columns are in the order of the training, that each step before the model is in the graph, and that ${columns.length === 1 ? 'this column has' : 'these columns have'} the predictions of this model`,
  );
}

function unreadable(
  { name, classes }: ModelManifest['output'],
  columns: readonly string[],
  [row]: readonly AnsweredRow[],
): MillraceError {
  const needed =
    classes === undefined
      ? 'the number that it predicts'
      : `a label (${classes.join(', ')}), or the probability of each class in a column of its own`;
  return invalid(
    `The columns ${columns.join(', ')} are no predictions of the output ${name}: row ${row?.number} has ${row?.given?.map((each) => short(each)).join(', ')}. A prediction of it is ${needed}`,
  );
}

function short(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 200);
}

function invalid(problem: string): MillraceError {
  return new MillraceError('FILE_INVALID', `${problem}.`);
}

import type { HeldOut } from './train-zoo.js';
import type { Answer } from './ways.js';

type Row = HeldOut['rows'][number];

/** Largest relative deviation that counts as the same prediction. */
export const tolerance = 1e-4;

/**
 * Numbers below this share of a model's largest prediction deviate relative to it: they are sums that cancel
 * out.
 */
const floorShare = 0.005;

/**
 * Compares the answers for rows with the library's own predictions.
 *
 * @param columns - classes in the order of the model's own columns.
 * @returns the largest deviation: the difference to the library's number, relative to that number, or to 0.5
 * % of the largest number that the library predicts for these rows if it is smaller than that.
 * @throws Error at another label, unless the library's best two classes are within the tolerance of each
 *   other.
 */
export function deviation(
  answers: readonly Answer[],
  { classes, rows }: HeldOut,
  columns: readonly string[] | undefined,
): number {
  if (answers.length !== rows.length) throw new Error(`${answers.length} answers for ${rows.length} rows`);
  const largest = Math.max(...rows.flatMap(({ values }) => values).map(Math.abs));
  const apart = (answer: number, value: number): number =>
    Math.abs(answer - value) / Math.max(Math.abs(value), floorShare * largest);
  return Math.max(
    ...rows.flatMap((row, index) => {
      const answer = answers[index];
      if (answer === undefined) throw new Error(`no answer for row ${index}`);
      checkLabel(answer, row, index);
      const values = valuesByColumn(row, classes);
      const main = columnsOf(answer.main, classes, columns);
      if (main.length !== values.length) {
        throw new Error(`row ${index}: the main output is ${JSON.stringify(answer.main)}`);
      }
      const column = answer.label !== null && classes !== null ? classes.indexOf(answer.label) : 0;
      return [
        apart(answer.score, values[column] ?? Number.NaN),
        ...main.map((number, one) => apart(number, values[one] ?? Number.NaN)),
      ].map((number) => (Number.isNaN(number) ? Infinity : number));
    }),
  );
}

/** A linear classifier of two classes has one number in scikit-learn, for the second. */
function valuesByColumn({ values }: Row, classes: HeldOut['classes']): number[] {
  if (typeof values !== 'number') return values;
  return classes === null ? [values] : [-values, values];
}

/** The main output's numbers, in the order of the classes. */
function columnsOf(main: unknown, classes: HeldOut['classes'], columns: readonly string[] = []): number[] {
  if (typeof main === 'number') return [main];
  const isList = Array.isArray(main);
  if (isList && classes === null) return main.flat(Infinity) as number[];
  const byClass = (
    isList ? Object.fromEntries(main.map((number, column) => [columns[column] ?? column, number])) : main
  ) as Record<string, number>;
  return (classes ?? []).map((name) => byClass[name] ?? Number.NaN);
}

function checkLabel(answer: Answer, { label, values }: Row, index: number): void {
  if (answer.label === label) return;
  const [best = 0, second = 0] = [values].flat().toSorted((one, other) => other - one);
  if (label !== null && best - second <= tolerance * Math.abs(best)) return;
  throw new Error(`row ${index}: the label is ${answer.label}, the library's ${label}`);
}

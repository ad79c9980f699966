import { seededRandom } from '../platform/seeded-random.js';
import type { InputValue, ModelRow } from './tensors.js';

const drawnRows = 64;
const seed = 20_261_128;

/**
 * Returns rows with each input's value from another of the given rows, the same ones each time. None of fewer
 * than two rows.
 */
export function drawRows(rows: readonly ModelRow[]): ModelRow[] {
  const [first] = rows;
  if (first === undefined || rows.length === 1) return [];
  const random = seededRandom(seed);
  const draw = (input: number): InputValue => rows[Math.floor(random() * rows.length)]?.[input] ?? Number.NaN;
  return Array.from({ length: drawnRows }, () => first.map((_, input) => draw(input)));
}

import type { RowResult } from '../micro-batcher.js';
import type { ModelOutput } from '../outputs.js';
import { MillraceError } from '../../platform/errors.js';

/** An answer of a model with the one number `result`. */
export function answerOf(score: number): ModelOutput {
  return { score, label: null, outputs: { result: score } };
}

/** Returns the scores of results. @throws the error of a row that has one. */
export function scoresOf(results: readonly RowResult[]): number[] {
  return results.map((result) => {
    if (result instanceof MillraceError) throw result;
    return result.score;
  });
}

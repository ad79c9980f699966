import { isProbability, type MainOutput } from './manifest.js';
import type { ModelOutput } from './outputs.js';

/** Float error of a probability. */
const rounding = 1e-5;
/** Float error of a sum of probabilities, also of 16-bit floats. */
const roundingOfSum = 1e-3;

/**
 * Returns why an answer cannot be right, as a predicate ("gets …"), or undefined. A probability is between 0
 * and 1, and those of all classes add up to 1.
 */
export function implausible(output: MainOutput, { score, outputs }: ModelOutput): string | undefined {
  if (!isProbability(output)) return undefined;
  const { name, classes } = output;
  if (classes === undefined) {
    return isShare(score) ? undefined : `gets the score ${score}, but ${name} is a probability`;
  }
  const shares = Object.values(outputs[name] ?? {}).map(Number);
  const odd = shares.find((share) => !isShare(share));
  if (odd !== undefined) return `gets ${odd} for a class, but ${name} has probabilities`;
  const sum = shares.reduce((total, share) => total + share, 0);
  return Math.abs(sum - 1) <= roundingOfSum
    ? undefined
    : `gets probabilities for the classes of ${name} that add up to ${sum} instead of 1`;
}

function isShare(value: number): boolean {
  return value >= -rounding && value <= 1 + rounding;
}

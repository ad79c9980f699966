import { MillraceError } from '../../platform/errors.js';
import { isShare } from '../lifecycle/state.js';
import type { Golden, ModelInput, ModelManifest } from '../manifest.js';
import type { ModelOutput } from '../outputs.js';

/**
 * Rejects a version that cannot replace the champion: the inputs with their order, and the meaning of the output, must
 * be the same.
 *
 * @throws MillraceError `MODEL_REFUSED` with the first differences.
 */
export function requireCompatible(candidate: ModelManifest, champion: ModelManifest): void {
  const differences = [
    ...inputDifferences(candidate.inputs, champion.inputs),
    ...outputDifferences(candidate.output, champion.output),
  ];
  if (differences.length === 0) return;
  const more = differences.length > 5 ? `; and ${differences.length - 5} more` : '';
  throw new MillraceError(
    'MODEL_REFUSED',
    `${candidate.name} ${candidate.version} cannot replace the champion, version ${champion.version}: ${differences.slice(0, 5).join('; ')}${more}. All versions of a model must have the same inputs and output.`,
  );
}

/**
 * Rejects scores of another kind than the champion's: a classifier must return a probability.
 *
 * @param outputs - of the version for sample events.
 * @throws MillraceError `MODEL_REFUSED`
 */
export function requireSameScale(
  outputs: readonly ModelOutput[],
  { manifest, golden }: { manifest: ModelManifest; golden: Golden },
): void {
  const scores = outputs.map(({ score }) => score);
  const isProbability =
    manifest.output.decision !== undefined && golden.rows.every(({ prediction }) => isShare(prediction));
  const outside = isProbability ? scores.find((score) => !isShare(score)) : undefined;
  if (outside !== undefined) {
    throw new MillraceError(
      'MODEL_REFUSED',
      `A sample event of the pipeline gets the score ${outside}, but ${manifest.output.name} of the champion is a probability. Export the graph with a probability as its output.`,
    );
  }
}

function inputDifferences(candidate: readonly ModelInput[], champion: readonly ModelInput[]): string[] {
  const differences =
    candidate.length === champion.length
      ? []
      : [`it has ${candidate.length} inputs, the champion ${champion.length}`];
  for (const [index, input] of champion.entries()) {
    const own = candidate[index];
    if (own === undefined) break;
    if (own.name !== input.name)
      differences.push(`input ${index} is ${own.name}, the champion’s is ${input.name}`);
    else if (takesText(own) !== takesText(input)) {
      differences.push(`input ${input.name} takes ${kindOf(own)}, the champion’s takes ${kindOf(input)}`);
    }
  }
  return differences;
}

function outputDifferences(candidate: ModelManifest['output'], champion: ModelManifest['output']): string[] {
  if (candidate.name !== champion.name) {
    return [`its output is ${candidate.name}, the champion’s is ${champion.name}`];
  }
  const labels = ({ decision }: ModelManifest['output']): string =>
    decision === undefined ? 'none' : `${decision.below} and ${decision.at_or_above}`;
  return labels(candidate) === labels(champion)
    ? []
    : [`its labels are ${labels(candidate)}, the champion’s are ${labels(champion)}`];
}

function takesText(input: ModelInput): boolean {
  return input.encoding !== undefined;
}

function kindOf(input: ModelInput): string {
  return takesText(input) ? 'text' : 'numbers';
}

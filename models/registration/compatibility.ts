import { MillraceError } from '../../platform/errors.js';
import { isProbability, type MainOutput, type ModelInput, type ModelManifest } from '../manifest.js';
import type { ModelOutput } from '../outputs.js';
import { implausible } from '../plausibility.js';
import { kindOf } from '../tensors.js';

/**
 * Rejects a version that cannot replace the champion: the inputs with their order, and the meaning of the
 * output, must be the same.
 *
 * @throws MillraceError `MODEL_REFUSED` with the first differences.
 */
export function requireCompatible(candidate: ModelManifest, champion: ModelManifest): void {
  const differences = [
    ...inputDifferences(candidate.inputs, champion.inputs),
    ...outputDifferences(candidate, champion),
  ];
  if (differences.length === 0) return;
  const more = differences.length > 5 ? `; and ${differences.length - 5} more` : '';
  throw new MillraceError(
    'MODEL_REFUSED',
    `${candidate.name} ${candidate.version} cannot replace the champion, version ${champion.version}: ${differences.slice(0, 5).join('; ')}${more}. All versions of a model must have the same inputs and output.`,
  );
}

/**
 * Rejects a version with implausible answers for sample events.
 *
 * @throws MillraceError `MODEL_REFUSED`
 */
export function requirePlausible(outputs: readonly ModelOutput[], { output }: ModelManifest): void {
  const nonsense = outputs.map((each) => implausible(output, each)).find((each) => each !== undefined);
  if (nonsense === undefined) return;
  throw new MillraceError(
    'MODEL_REFUSED',
    `A sample event of the pipeline ${nonsense}. Export the graph with a probability as its output, or set "scale" of the output in model.json to "number".`,
  );
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
    else if (kindOfInput(own) !== kindOfInput(input)) {
      differences.push(
        `input ${input.name} takes ${kindOfInput(own)}, the champion’s takes ${kindOfInput(input)}`,
      );
    }
  }
  return differences;
}

/** What readers of predictions rely on: names, labels, and whether the score is a probability. */
function outputDifferences(candidate: ModelManifest, champion: ModelManifest): string[] {
  const compare = (what: string, of: (manifest: ModelManifest) => string) => {
    const [own, other] = [of(candidate), of(champion)];
    return own === other ? [] : [`its ${what} ${own}, the champion’s ${other}`];
  };
  const name = compare('output is', ({ output }) => output.name);
  if (name.length > 0) return name;
  return [
    ...compare('labels are', ({ output, runtime }) => labelsOf(output, runtime.label_tensor)),
    ...compare('score is', ({ output }) => (isProbability(output) ? 'a probability' : 'a number')),
    ...compare(
      'further outputs are',
      ({ outputs = [] }) =>
        outputs
          .map((output) => `${output.name} (${describeOutput(output)})`)
          .toSorted()
          .join(', ') || 'none',
    ),
  ];
}

function labelsOf({ classes, decision }: MainOutput, labelTensor: string | undefined): string {
  if (classes !== undefined) return `the classes ${classes.join(', ')}`;
  if (decision !== undefined) return `${decision.below} and ${decision.at_or_above}`;
  return labelTensor === undefined ? 'none' : 'those of the graph';
}

function describeOutput({ dtype, classes }: NonNullable<ModelManifest['outputs']>[number]): string {
  return [kindOf(dtype), ...(classes ?? [])].join(' ');
}

/**
 * What an event has to give for an input. Another number type, or `missing`, makes no difference to events.
 */
function kindOfInput({ dtype, encoding, shape }: ModelInput): string {
  const kind =
    encoding === undefined
      ? { string: 'text', boolean: 'true or false', number: 'numbers' }[kindOf(dtype)]
      : 'text';
  return shape === undefined ? kind : `${kind} [${shape.join(', ')}]`;
}

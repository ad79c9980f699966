import type { ModelInput, ModelManifest } from './manifest.js';
import { elementDtype, inputTensorsOf, isFloat, kindOf, numberMisfit, widthOf } from './tensors.js';

/** A field of model.json that contradicts another. */
export interface ManifestProblem {
  path: (string | number)[];
  problem: string;
}

/** Returns the contradictions between fields of a model.json, each of which is valid alone. */
export function checkManifest(manifest: ModelManifest): ManifestProblem[] {
  const { inputs, runtime } = manifest;
  return [
    ...inputs.flatMap((input, index) =>
      inputProblems(input, runtime).map(([key, problem]) => ({ path: ['inputs', index, key], problem })),
    ),
    ...sizeProblems(inputs),
    ...sharedTensorProblems(manifest),
    ...outputProblems(manifest),
  ];
}

function inputProblems(
  input: ModelInput,
  runtime: ModelManifest['runtime'],
): [key: string, problem: string][] {
  const { dtype, encoding, missing, unknown } = input;
  const problems: [string, string][] = [];
  const kind = kindOf(dtype);
  const element = elementDtype(input, runtime);
  if (element !== dtype && !isFloat(dtype)) {
    problems.push(['dtype', `is ${dtype}, but input_dtype is ${element}: both have to be floating-point`]);
  }
  if (encoding !== undefined && kind !== 'number') {
    problems.push(['encoding', `turns texts into numbers, but the input is ${dtype}`]);
  }
  const codes =
    kind === 'number' ? [...Object.values(encoding ?? {}), ...(unknown === undefined ? [] : [unknown])] : [];
  const odd = codes.find((code) => numberMisfit(code, element) !== undefined);
  if (odd !== undefined) {
    problems.push(['encoding', `has ${odd}, which is not ${numberMisfit(odd, element)} (${element})`]);
  }
  const misfit = missingMisfit(input, element);
  if (missing !== undefined && misfit !== undefined) problems.push(['missing', misfit]);
  return problems;
}

function missingMisfit(
  { dtype, encoding, missing }: ModelInput,
  element: ModelInput['dtype'],
): string | undefined {
  if (missing === undefined) return undefined;
  const code = missing === 'nan' || missing === 'refuse' ? encodingOf(encoding, missing) : undefined;
  if (code !== undefined) {
    return `is '${missing}', which is also a text of the encoding: for that text use its number, ${code}; otherwise write the text in another case in the encoding, which makes no difference to events`;
  }
  if (missing === 'refuse') return undefined;
  if (missing === 'nan') {
    return isFloat(dtype)
      ? undefined
      : `is nan, but ${dtype} has no NaN: use a value, or a floating-point input`;
  }
  const kind = kindOf(dtype);
  if (kind === 'number' && typeof missing === 'string') {
    // Spelled as in the encoding, so that a reader finds it there.
    if (encodingOf(encoding, missing) !== undefined) return undefined;
    return `is '${missing}', but the input is ${dtype}: use refuse, nan, ${encoding === undefined ? '' : 'a text of the encoding, '}or a number`;
  }
  if (typeof missing !== kind) return `is ${missing}, but the input is ${dtype}: use refuse or a ${kind}`;
  const misfit = typeof missing === 'number' ? numberMisfit(missing, element) : undefined;
  return misfit && `is ${missing}, which is not ${misfit} (${element})`;
}

function encodingOf(encoding: ModelInput['encoding'], text: string): number | undefined {
  return encoding !== undefined && Object.hasOwn(encoding, text) ? encoding[text] : undefined;
}

/** Elements of all inputs of a row: more than an event can have, and few enough for memory. */
const maxElements = 1_000_000;

function sizeProblems(inputs: readonly ModelInput[]): ManifestProblem[] {
  let elements = 0;
  const at = inputs.findIndex(({ shape }) => (elements += widthOf(shape)) > maxElements);
  if (at === -1) return [];
  const problem = `makes rows of more than ${maxElements} elements, which is the most for all inputs together`;
  return [{ path: ['inputs', at, 'shape'], problem }];
}

function sharedTensorProblems({ inputs, runtime }: ModelManifest): ManifestProblem[] {
  const problems: ManifestProblem[] = [];
  if (runtime.input_tensor === undefined && runtime.input_dtype !== undefined) {
    problems.push({ path: ['runtime', 'input_dtype'], problem: 'needs an input_tensor, whose type it is' });
  }
  if (runtime.input_tensor !== undefined && inputs.every(({ tensor }) => tensor !== undefined)) {
    const problem = 'has no columns: each input has a tensor of its own. Leave one of them out';
    problems.push({ path: ['runtime', 'input_tensor'], problem });
  }
  for (const { name, columns } of inputTensorsOf({ inputs, runtime })) {
    if (columns.length === 1) continue;
    const first = inputs[columns[0]?.input ?? 0];
    for (const { input: index } of columns) {
      const input = inputs[index];
      if (input === undefined || first === undefined) continue;
      const own = elementDtype(input, runtime);
      const shared = elementDtype(first, runtime);
      if (own !== shared) {
        const problem = `is ${own}, but ${first.name}, a column of the same tensor ${name}, is ${shared}`;
        problems.push({ path: ['inputs', index, 'dtype'], problem });
      }
      if ((input.shape?.length ?? 1) > 1) {
        const problem = `is [${input.shape?.join(', ')}], but the tensor ${name} has other inputs as columns too: use a shape with one dimension, or a tensor of its own`;
        problems.push({ path: ['inputs', index, 'shape'], problem });
      }
    }
  }
  return problems;
}

function outputProblems({ output, outputs = [], runtime }: ModelManifest): ManifestProblem[] {
  const problems: ManifestProblem[] = [];
  if (output.classes !== undefined && output.decision !== undefined) {
    const problem = 'and classes exclude each other: a decision splits one number, classes name several';
    problems.push({ path: ['output', 'decision'], problem });
  }
  if (output.classes !== undefined && runtime.output_column !== undefined) {
    const problem =
      'and classes exclude each other: each class has its own column, and the label chooses the score';
    problems.push({ path: ['runtime', 'output_column'], problem });
  }
  if (output.classes !== undefined && !isFloat(output.dtype)) {
    problems.push({
      path: ['output', 'dtype'],
      problem: `is ${output.dtype}, but classes have probabilities`,
    });
  }
  const seen = new Set([output.name]);
  for (const [index, { name }] of outputs.entries()) {
    if (seen.has(name)) problems.push({ path: ['outputs', index, 'name'], problem: `${name} is used twice` });
    seen.add(name);
  }
  return problems;
}

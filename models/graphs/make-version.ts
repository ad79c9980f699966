import { createHash } from 'node:crypto';
import type { Feature } from '../input-encoder.js';
import { type Golden, type ModelInput, type ModelManifest, manifestSchema } from '../manifest.js';
import type { ModelOutput } from '../outputs.js';
import { isFloat, kindOf, widthOf } from '../tensors.js';
import { MillraceError } from '../../platform/errors.js';
import { type AnsweredRow, type GivenPredictions, makeGolden } from './golden-rows.js';
import { type OutputChoice, type OutputPlan, planOutputs } from './graph-outputs.js';
import { type Graph, refused } from './read-graph.js';
import { decodeRows, type InputParts, requireBatches, runRows, seenOutputs } from './score-rows.js';

export interface VersionRequest {
  graph: Graph;
  name: string;
  version: string;
  inputs: readonly ModelInput[];
  inputTensor?: string | undefined;
  /** Values for each input. Without any, rows are drawn. */
  rows: readonly { number: number; features: readonly Feature[] }[];
  predictions?: GivenPredictions | undefined;
  choice?: OutputChoice | undefined;
  /** A version whose output the new one has to give. */
  like?: Pick<ModelManifest, 'output' | 'runtime'> | undefined;
  /** Parts of model.json that the graph does not say. */
  card?: Partial<
    Pick<ModelManifest, 'license' | 'description' | 'metrics' | 'training' | 'training_data' | 'model_card'>
  >;
}

/** A version of a model, ready to be written. */
export interface MadeVersion {
  onnx: Uint8Array;
  manifest: ModelManifest;
  golden: Golden;
  /** The answer for each row that has one. */
  answers: (ModelOutput | undefined)[];
  /** What was assumed, in sentences. */
  notes: string[];
}

/** Rows that are run. */
const maxRows = 500;
const drawnRows = 5;

/**
 * Makes model.json and golden.json for a graph by running it with rows.
 *
 * @throws MillraceError `MODEL_REFUSED` for a graph that cannot be served, `FILE_INVALID` for rows that it
 *   does not take or whose predictions it does not give.
 */
export async function makeVersion(request: VersionRequest): Promise<MadeVersion> {
  const { graph, name, version, inputTensor, choice, predictions, card = {} } = request;
  const isDrawn = request.rows.length === 0;
  const rows = isDrawn ? drawRows(request.inputs) : request.rows.slice(0, maxRows);
  const notes: string[] = [];
  const runtime = {
    format: 'onnx' as const,
    opsets: graph.opsets,
    ...(inputTensor === undefined ? {} : { input_tensor: inputTensor }),
    output_tensor: '',
  };
  const { inputs, missing } = withMissing(request.inputs, rows);
  let parts: InputParts = { inputs, runtime };
  const features = rows.map((row) => row.features);
  let ran = await runRows(graph, parts, features);
  requireSome(ran.tensors, ran.problems, rows, isDrawn);
  const planned = planOutputs(graph, seenOutputs(ran), choice);
  const plan = request.like === undefined ? planned : planLike(planned, request.like);
  const whole = { ...plan, runtime: { ...runtime, ...plan.runtime } };
  let answers = decodeRows(whole, graph, ran);
  const refusing = missing.filter((at) =>
    rows.some((row, index) => hasMissing(row.features[at]) && typeof answers[index] === 'string'),
  );
  if (refusing.length > 0) {
    parts = {
      runtime,
      inputs: inputs.map((input, at) => (refusing.includes(at) ? { ...input, missing: 'refuse' } : input)),
    };
    ran = await runRows(graph, parts, features);
    answers = decodeRows(whole, graph, ran);
  }
  notes.push(...missingNotes(parts.inputs, rows), ...plan.notes);
  requireAnswers(answers, parts.inputs, rows, isDrawn);
  requireBatches(ran);
  const answered = rows.flatMap(({ number, features: values }, index): AnsweredRow[] => {
    const answer = answers[index];
    if (answer === undefined || typeof answer === 'string') return [];
    return [{ number, features: values.map(toGolden), answer, given: predictions?.rows[index] }];
  });
  const made = makeGolden(whole, answered, predictions?.columns ?? []);
  const all = [...notes, ...made.notes];
  const manifest: ModelManifest = {
    name,
    version,
    digest: createHash('sha256').update(graph.onnx).digest('hex'),
    license: card.license ?? 'NOASSERTION',
    description: card.description ?? `The model ${name}, version ${version}.`,
    runtime: whole.runtime,
    inputs: parts.inputs,
    output: plan.output,
    ...(plan.outputs === undefined ? {} : { outputs: plan.outputs }),
    metrics: card.metrics ?? {},
    ...(card.training_data === undefined ? {} : { training_data: card.training_data }),
    ...(card.training === undefined ? {} : { training: card.training }),
    model_card: card.model_card ?? { intended_use: 'Not stated yet.', limits: all },
  };
  const { error } = manifestSchema.safeParse(manifest);
  if (error !== undefined)
    throw refused(error.issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; '));
  return {
    onnx: graph.onnx,
    manifest,
    golden: made.golden,
    answers: answers.map((each) => (typeof each === 'string' ? undefined : each)),
    notes: all,
  };
}

/** Gives the output its name, meaning and labels in another version. */
function planLike(plan: OutputPlan, { output, runtime }: NonNullable<VersionRequest['like']>): OutputPlan {
  const { label_tensor: label, ...own } = plan.runtime;
  const { classes, dtype, scale } = plan.output;
  const { classes: wanted, ...kept } = output;
  if (wanted !== undefined && !sameNames(wanted, classes ?? [])) {
    throw refused(
      `its classes are ${classes?.join(', ') ?? 'none'}, and those of the other versions are ${wanted.join(', ')}. Train it with the same labels, or name its columns with --classes`,
    );
  }
  return {
    ...plan,
    runtime: {
      ...own,
      ...(label === undefined || (classes === undefined && runtime.label_tensor === undefined)
        ? {}
        : { label_tensor: label }),
    },
    output: {
      ...kept,
      dtype,
      ...(classes === undefined ? {} : { classes }),
      ...(output.scale === undefined && scale !== undefined ? { scale } : {}),
    },
    ...(plan.outputs === undefined
      ? {}
      : { outputs: plan.outputs.filter(({ name }) => name !== output.name) }),
  };
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name) => other.includes(name));
}

type Rows = VersionRequest['rows'];

/**
 * Lets inputs with missing values in the rows have NaN, where there is one. Returns the positions of these
 * inputs.
 */
function withMissing(inputs: readonly ModelInput[], rows: Rows): { inputs: ModelInput[]; missing: number[] } {
  const missing: number[] = [];
  const changed = inputs.map((input, at): ModelInput => {
    if (input.missing !== undefined || !rows.some((row) => hasMissing(row.features[at]))) return input;
    if (!isFloat(input.dtype) || input.encoding !== undefined) return { ...input, missing: 'refuse' };
    missing.push(at);
    return { ...input, missing: 'nan' };
  });
  return { inputs: changed, missing };
}

function hasMissing(feature: Feature): boolean {
  return (
    feature === null ||
    feature === undefined ||
    Number.isNaN(feature) ||
    (Array.isArray(feature) && feature.some(hasMissing))
  );
}

function missingNotes(inputs: readonly ModelInput[], rows: Rows): string[] {
  const named = (wanted: ModelInput['missing']): string =>
    inputs
      .filter((input, at) => input.missing === wanted && rows.some((row) => hasMissing(row.features[at])))
      .map(({ name }) => name)
      .join(', ');
  const [nan, refuse] = [named('nan'), named('refuse')];
  return [
    ...(nan === ''
      ? []
      : [`A missing value of ${nan} is NaN for the model ("missing": "nan"), which the graph takes.`]),
    ...(refuse === ''
      ? []
      : [
          `An event without ${refuse} is refused ("missing": "refuse"), because the graph has no missing value for it. Set "missing" to a value in model.json to use that one.`,
        ]),
  ];
}

function requireSome(
  tensors: readonly unknown[],
  problems: ReadonlyMap<number, string>,
  rows: Rows,
  isDrawn: boolean,
): void {
  if (tensors.some((each) => each !== undefined)) return;
  const [at, problem] = [...problems][0] ?? [0, 'it gives nothing'];
  if (isDrawn) throw refused(`it fails with drawn rows: ${problem}. Give rows that it takes, with --sample`);
  throw new MillraceError(
    'FILE_INVALID',
    `The graph does not take row ${rows[at]?.number} of the sample, nor any other: ${problem}.`,
  );
}

/** Only a row with a missing value may have no score. */
function requireAnswers(
  answers: readonly (ModelOutput | string)[],
  inputs: readonly ModelInput[],
  rows: Rows,
  isDrawn: boolean,
): void {
  for (const [at, answer] of answers.entries()) {
    if (typeof answer !== 'string' || isRefused(inputs, rows[at]?.features ?? [])) continue;
    const row = isDrawn
      ? 'a drawn row. Give rows that it takes, with --sample'
      : `row ${rows[at]?.number} of the sample. Correct the row or leave it out`;
    throw refused(`${answer.replace(/\.$/, '')}: this is its answer for ${row}`);
  }
  if (answers.every((answer) => typeof answer === 'string')) {
    throw new MillraceError(
      'FILE_INVALID',
      'Each row of the sample lacks a value that the model needs. Add complete rows.',
    );
  }
}

function isRefused(inputs: readonly ModelInput[], features: readonly Feature[]): boolean {
  return inputs.some(({ missing }, at) => missing === 'refuse' && hasMissing(features[at]));
}

function toGolden(feature: Feature): Golden['rows'][number]['features'][number] {
  if (feature === undefined || Number.isNaN(feature)) return null;
  return Array.isArray(feature) ? (feature as unknown[]) : (feature as string | number | boolean | null);
}

/** Draws rows with small numbers. */
function drawRows(inputs: readonly ModelInput[]): Rows {
  // Lehmer's generator: the same rows each time.
  let state = 1;
  const draw = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  const value = ({ dtype, encoding }: ModelInput): Feature => {
    const [text] = Object.keys(encoding ?? {});
    if (text !== undefined) return text;
    if (kindOf(dtype) === 'string') return draw() < 0.5 ? 'a' : 'b';
    if (kindOf(dtype) === 'boolean') return draw() < 0.5;
    return isFloat(dtype) ? Math.round(draw() * 1000) / 1000 : Math.floor(draw() * 3);
  };
  return Array.from({ length: drawnRows }, (_, index) => ({
    number: index + 1,
    features: inputs.map((input) =>
      input.shape === undefined
        ? value(input)
        : Array.from({ length: widthOf(input.shape) }, () => value(input)),
    ),
  }));
}

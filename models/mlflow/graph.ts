import { InferenceSession, Tensor } from 'onnxruntime-node';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { ModelManifest } from '../manifest.js';
import { withFloatOutput, zipMapsOf } from '../onnx-file.js';

/** Which output of a graph is the prediction, where that is not plain. */
export interface OutputChoice {
  /** An output of the graph. Default: its only one of floating-point numbers. */
  output?: string | undefined;
  /** Column of that output. Default: the second of two (the positive class), none of one. */
  column?: number | undefined;
}

/** A graph that the runtime can run, and how. */
export interface UsableGraph {
  onnx: Uint8Array;
  runtime: Pick<ModelManifest['runtime'], 'input_tensor' | 'input_dtype' | 'output_tensor' | 'output_column'>;
  outputDtype: ModelManifest['output']['dtype'];
  /** What it says of each of the rows it was tried on. */
  predictions: number[];
}

interface Candidate {
  /** What the graph's users call it. */
  name: string;
  tensor: string;
  data: Float32Array | Float64Array;
  columns: number;
}

/**
 * Finds out how a graph from elsewhere is run, by reading its inputs and outputs and running it. A classifier that ends
 * in a ZipMap gets the tensor of probabilities before it as one more output.
 *
 * @param rows - at least two, each as wide as the model's inputs.
 * @throws MillraceError `MLFLOW_MODEL_UNFIT` that says what does not fit and how to export it otherwise.
 */
export async function useGraph(
  original: Uint8Array,
  rows: readonly number[][],
  choice: OutputChoice,
): Promise<UsableGraph> {
  const zipMaps = zipMapsOf(original);
  const onnx = [...new Set(zipMaps.values())].reduce(withFloatOutput, original);
  const session = await open(onnx);
  try {
    const width = rows[0]?.length ?? 0;
    const { name: inputTensor, dtype } = onlyInput(session, width);
    const values = rows.flat().map(Math.fround);
    const given = dtype === 'float32' ? Float32Array.from(values) : Float64Array.from(values);
    const outputs = session.outputMetadata.filter(
      (output) => output.isTensor && (output.type === 'float32' || output.type === 'float64'),
    );
    const names = outputs.map(({ name }) => name);
    const results = await run(
      session,
      { [inputTensor]: new Tensor(dtype, given, [rows.length, width]) },
      names,
    );
    const candidates = names.flatMap((tensor): Candidate[] => {
      const data = results[tensor]?.data;
      if (!(data instanceof Float32Array || data instanceof Float64Array)) return [];
      const columns = data.length / rows.length;
      const zipped = [...zipMaps].find(([, before]) => before === tensor)?.[0];
      return Number.isInteger(columns) ? [{ name: zipped ?? tensor, tensor, data, columns }] : [];
    });
    const { tensor, data, columns } = choose(candidates, choice, session.outputNames);
    const column = columnOf(columns, tensor, choice.column);
    const predictions = rows.map((_, row) => data[row * columns + column] ?? Number.NaN);
    const odd = predictions.findIndex((prediction) => !Number.isFinite(prediction));
    if (odd !== -1) throw unfit(`row ${odd} of those it was tried on gives ${predictions[odd]}`);
    return {
      onnx,
      runtime: {
        input_tensor: inputTensor,
        ...(dtype === 'float64' ? { input_dtype: dtype } : {}),
        output_tensor: tensor,
        ...(columns === 1 ? {} : { output_column: column }),
      },
      outputDtype: data instanceof Float64Array ? 'float64' : 'float32',
      predictions,
    };
  } finally {
    await session.release();
  }
}

async function open(onnx: Uint8Array): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(onnx, { executionProviders: ['cpu'], logSeverityLevel: 4 });
  } catch (error) {
    throw unfit(`onnxruntime cannot open it: ${messageOf(error)}`, error);
  }
}

/** How a converter is told to make one input of all features. */
function asFloats(width: number): string {
  return `with skl2onnx: initial_types=[('features', FloatTensorType([None, ${width}]))]`;
}

function onlyInput(session: InferenceSession, width: number): { name: string; dtype: 'float32' | 'float64' } {
  const [input, ...more] = session.inputMetadata;
  if (input === undefined || more.length > 0) {
    throw unfit(
      `it takes ${session.inputNames.length} inputs (${session.inputNames.slice(0, 5).join(', ')}, …), and one is needed that has all ${width} features as its columns; ${asFloats(width)}`,
    );
  }
  if (!input.isTensor || (input.type !== 'float32' && input.type !== 'float64')) {
    throw unfit(
      `its input ${input.name} is ${input.isTensor ? input.type : 'no tensor'}, not floating-point numbers; ${asFloats(width)}`,
    );
  }
  const [batch, columns, ...rest] = input.shape;
  if (input.shape.length > 0 && (rest.length > 0 || (typeof columns === 'number' && columns !== width))) {
    throw unfit(`its input ${input.name} is [${input.shape.join(', ')}], and the model has ${width} inputs`);
  }
  if (typeof batch === 'number' && batch > 0) {
    throw unfit(`it takes exactly ${batch} rows at once: export it with a batch dimension that is open`);
  }
  return { name: input.name, dtype: input.type };
}

async function run(session: InferenceSession, feeds: Record<string, Tensor>, outputs: readonly string[]) {
  if (outputs.length === 0) {
    throw unfit(`it has no output of floating-point numbers, only ${session.outputNames.join(', ')}`);
  }
  try {
    return await session.run(feeds, outputs);
  } catch (error) {
    throw unfit(`it failed on the rows it was tried on: ${messageOf(error)}`, error);
  }
}

function choose(candidates: Candidate[], { output }: OutputChoice, all: readonly string[]): Candidate {
  const [first, ...others] =
    output === undefined
      ? candidates
      : candidates.filter(({ name, tensor }) => name === output || tensor === output);
  if (first !== undefined && others.length === 0) return first;
  const names = candidates.map(({ name, columns }) => `${name} [batch, ${columns}]`).join(', ');
  throw unfit(
    first === undefined
      ? `no output ${output ?? ''} of one number or more a row is among ${names || all.join(', ')}`
      : `more than one of its outputs could be the prediction: ${names}. Choose with --output`,
  );
}

/** Converters order the columns by class: of a model of two classes the second one is the positive. */
function columnOf(columns: number, tensor: string, wanted: number | undefined): number {
  const column = wanted ?? { 1: 0, 2: 1 }[columns];
  if (column === undefined) {
    throw unfit(`its output ${tensor} has ${columns} columns. Choose one, counted from 0, with --column`);
  }
  if (column >= columns) {
    throw unfit(`its output ${tensor} has ${columns} columns; there is no column ${column}`);
  }
  return column;
}

function unfit(problem: string, cause?: unknown): MillraceError {
  return new MillraceError('MLFLOW_MODEL_UNFIT', `The ONNX graph can't be used: ${problem}.`, { cause });
}

import { InferenceSession, Tensor } from 'onnxruntime-node';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { ModelManifest } from '../manifest.js';
import { withFloatOutput, zipMapsOf } from '../onnx-file.js';

/** Output of the graph to use as the prediction, if it is ambiguous. */
export interface OutputChoice {
  /** Name of the output. Default: the only floating-point output. */
  output?: string | undefined;
  /** Column of the output. Default: the second of two (the positive class), unset for one. */
  column?: number | undefined;
}

/** A graph that the runtime can run, with its tensors. */
export interface UsableGraph {
  onnx: Uint8Array;
  runtime: Pick<ModelManifest['runtime'], 'input_tensor' | 'input_dtype' | 'output_tensor' | 'output_column'>;
  outputDtype: ModelManifest['output']['dtype'];
  /** Predictions for the sample rows. */
  predictions: number[];
}

interface Candidate {
  /** Name of the output in the graph. */
  name: string;
  tensor: string;
  data: Float32Array | Float64Array;
  columns: number;
}

/**
 * Determines how to run an external graph, by reading its inputs and outputs and running it. For a classifier that ends
 * in a ZipMap, adds the tensor of probabilities before it as another output.
 *
 * @param rows - at least two sample rows with a value for each input.
 * @throws MillraceError `MLFLOW_MODEL_UNFIT` with the reason and how to export the model.
 */
export async function useGraph(
  original: Uint8Array,
  rows: readonly number[][],
  choice: OutputChoice,
): Promise<UsableGraph> {
  const zipMaps = zipMapsOf(original);
  const onnx = [...new Set([...zipMaps.values()].map(({ tensor }) => tensor))].reduce(
    withFloatOutput,
    original,
  );
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
      const zipped = [...zipMaps].find(([, before]) => before.tensor === tensor)?.[0];
      return Number.isInteger(columns) ? [{ name: zipped ?? tensor, tensor, data, columns }] : [];
    });
    const { tensor, data, columns } = choose(candidates, choice, session.outputNames);
    const column = columnOf(columns, tensor, choice.column);
    const predictions = rows.map((_, row) => data[row * columns + column] ?? Number.NaN);
    const odd = predictions.findIndex((prediction) => !Number.isFinite(prediction));
    if (odd !== -1) throw unfit(`its prediction for sample row ${odd} is ${predictions[odd]}`);
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

/** Describes how a converter creates a single input with all features. */
function asFloats(width: number): string {
  return `with skl2onnx: initial_types=[('features', FloatTensorType([None, ${width}]))]`;
}

function onlyInput(session: InferenceSession, width: number): { name: string; dtype: 'float32' | 'float64' } {
  const [input, ...more] = session.inputMetadata;
  if (input === undefined || more.length > 0) {
    throw unfit(
      `it takes ${session.inputNames.length} inputs (${session.inputNames.slice(0, 5).join(', ')}, …) instead of one with all ${width} features as columns; export it ${asFloats(width)}`,
    );
  }
  if (!input.isTensor || (input.type !== 'float32' && input.type !== 'float64')) {
    throw unfit(
      `its input ${input.name} is ${input.isTensor ? input.type : 'no tensor'}, not floating-point numbers; ${asFloats(width)}`,
    );
  }
  const [batch, columns, ...rest] = input.shape;
  if (input.shape.length > 0 && (rest.length > 0 || (typeof columns === 'number' && columns !== width))) {
    throw unfit(`its input ${input.name} is [${input.shape.join(', ')}], but the model has ${width} inputs`);
  }
  if (typeof batch === 'number' && batch > 0) {
    throw unfit(`it takes exactly ${batch} rows per call: export it with a dynamic batch dimension`);
  }
  return { name: input.name, dtype: input.type };
}

async function run(session: InferenceSession, feeds: Record<string, Tensor>, outputs: readonly string[]) {
  if (outputs.length === 0) {
    throw unfit(`it has no floating-point output, only ${session.outputNames.join(', ')}`);
  }
  try {
    return await session.run(feeds, outputs);
  } catch (error) {
    throw unfit(`it failed on the sample rows: ${messageOf(error)}`, error);
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
      : `several of its outputs could be the prediction: ${names}. Choose one with --output`,
  );
}

/** Converters order the columns by class, so the second of two columns is the positive class. */
function columnOf(columns: number, tensor: string, wanted: number | undefined): number {
  const column = wanted ?? { 1: 0, 2: 1 }[columns];
  if (column === undefined) {
    throw unfit(`its output ${tensor} has ${columns} columns. Choose one with --column, from 0`);
  }
  if (column >= columns) {
    throw unfit(`its output ${tensor} has ${columns} columns; there is no column ${column}`);
  }
  return column;
}

function unfit(problem: string, cause?: unknown): MillraceError {
  return new MillraceError('MLFLOW_MODEL_UNFIT', `Cannot use the ONNX graph: ${problem}.`, { cause });
}

import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isSystemError, MillraceError, messageOf } from '../../platform/errors.js';
import {
  classLabelsOf,
  externalFilesOf,
  opsetsOf,
  requireWeightsInside,
  withWeightsInside,
  type ZipMap,
  zipMapsOf,
} from '../onnx-file.js';
import type { OutputTensor } from '../outputs.js';
import { runLimited, type ProcessLimits } from '../registration/limited-process.js';
import type { TensorData } from '../tensors.js';

/** An input or output as onnxruntime describes it. */
export interface GraphTensor {
  name: string;
  /** `float32`, `string`, …; undefined for a sequence or a map. */
  dtype: string | undefined;
  /** A text for a dynamic dimension. Empty for a scalar, or if the graph does not say. */
  shape: (number | string)[];
}

/** What a graph takes and gives. */
export interface Graph {
  /** The graph with all its weights. */
  onnx: Uint8Array;
  opsets: Record<string, number>;
  inputs: GraphTensor[];
  outputs: GraphTensor[];
  /** By the name of their outputs. */
  zipMaps: ReadonlyMap<string, ZipMap>;
  /** Lists of class labels in the graph, without repetitions. */
  classLabels: string[][];
}

/** An input for a run, row-major. */
export interface Feed {
  name: string;
  dtype: string;
  dims: number[];
  data: TensorData;
}

/** Outputs by name, or why a run failed. */
export type RunResult = Map<string, OutputTensor> | { failed: string };

/** Request to the process. */
export interface GraphRequest {
  onnx: Uint8Array;
  runs: Feed[][];
}

/** Answer of the process. */
export type GraphAnswer =
  { unopened: string } | { inputs: GraphTensor[]; outputs: GraphTensor[]; results: RunResult[] };

const program = fileURLToPath(new URL('./graph-process.js', import.meta.url));

/**
 * Reads an ONNX file, with weights in files beside it.
 *
 * @throws MillraceError `FILE_UNREADABLE`, and as {@link readGraph}.
 */
export async function readGraphFile(file: string, maxBytes: number, limits?: ProcessLimits): Promise<Graph> {
  const onnx = await readLimited(file, maxBytes);
  requireOnnx(onnx, file);
  const weights = new Map<string, Uint8Array>();
  for (const name of externalFilesOf(onnx)) {
    if (!/^[\w][\w .+-]*$/.test(name)) {
      throw refused(`its weights are in ${JSON.stringify(name)}, which is not a file beside it`);
    }
    weights.set(name, await readLimited(join(dirname(file), name), maxBytes));
  }
  return readGraph(withWeightsInside(onnx, weights), limits);
}

/**
 * Opens a graph in a separate process and returns what it has.
 *
 * @throws MillraceError `MODEL_REFUSED` if it is no ONNX graph, or onnxruntime cannot open it.
 */
export async function readGraph(onnx: Uint8Array, limits?: ProcessLimits): Promise<Graph> {
  requireOnnx(onnx, 'The file');
  requireWeightsInside(onnx);
  const answer = await ask({ onnx, runs: [] }, limits);
  if ('unopened' in answer) throw unopened(onnx, answer.unopened);
  return {
    onnx,
    opsets: opsetsOf(onnx),
    inputs: answer.inputs,
    outputs: answer.outputs,
    zipMaps: zipMapsOf(onnx),
    classLabels: [...new Set(classLabelsOf(onnx).map((labels) => JSON.stringify(labels)))].map(
      (labels) => JSON.parse(labels) as string[],
    ),
  };
}

/**
 * Runs a graph in a separate process, with all its tensors as outputs.
 *
 * @returns a result for each run.
 * @throws MillraceError `MODEL_REFUSED` if the process does not answer.
 */
export async function runGraph(
  onnx: Uint8Array,
  runs: Feed[][],
  limits?: ProcessLimits,
): Promise<RunResult[]> {
  const answer = await ask({ onnx, runs }, limits);
  if ('unopened' in answer) throw unopened(onnx, answer.unopened);
  return answer.results;
}

function ask(request: GraphRequest, limits?: ProcessLimits): Promise<GraphAnswer> {
  return runLimited<GraphAnswer>({ program, request, graphBytes: request.onnx.length }, limits);
}

async function readLimited(file: string, maxBytes: number): Promise<Uint8Array> {
  try {
    const { size } = await stat(file);
    if (size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes (MAX_MODEL_BYTES)`);
    return await readFile(file);
  } catch (error) {
    const isMissing = isSystemError(error, 'ENOENT');
    throw new MillraceError(
      'FILE_UNREADABLE',
      isMissing ? `There is no file ${file}.` : `Cannot read ${file}: ${messageOf(error)}.`,
      { cause: error },
    );
  }
}

/** What files start with that are taken for ONNX, and how a model becomes an ONNX graph. */
const otherFormats: readonly (readonly [start: string, what: string, way: string])[] = [
  ['\x80', 'a Python pickle', 'Convert the model with skl2onnx, onnxmltools or torch.onnx.export'],
  ['PK\x03\x04', 'a zip archive, such as PyTorch writes', 'Export the model with torch.onnx.export'],
  ['\x89HDF', 'an HDF5 file of Keras', 'Convert the model with tf2onnx'],
  ['\x1f\x8b', 'a gzip archive', 'Unpack it'],
  ['{', 'JSON', 'Convert the model with onnxmltools'],
];

function requireOnnx(onnx: Uint8Array, file: string): void {
  const start = Buffer.from(onnx.subarray(0, 8)).toString('latin1');
  if (start.slice(4) === 'ORTM') {
    throw refused(
      `${file} is in onnxruntime’s own format (.ort). Use the .onnx file from which it was converted`,
    );
  }
  const [, what, way] = otherFormats.find(([begin]) => start.startsWith(begin)) ?? [];
  if (what !== undefined) throw refused(`${file} is no ONNX graph but ${what}. ${way}`);
  let isOnnx = false;
  try {
    isOnnx = Object.keys(opsetsOf(onnx)).length > 0;
  } catch {
    // Bytes that are no Protocol Buffers message are no graph either.
  }
  if (!isOnnx) throw refused(`${file} is no ONNX graph. Export the model to ONNX, or copy the file again`);
}

function unopened(onnx: Uint8Array, reason: string): MillraceError {
  // Without the place in onnxruntime's source.
  const problem = reason
    .replace(/^\S+\.(?:h|cc|cpp):\d+ .*?\) (?=\S)/, '')
    .replace(/^\S+\.(?:h|cc|cpp):\d+ /, '');
  const opsets = Object.entries(opsetsOf(onnx)).map(([domain, version]) => `${domain} ${version}`);
  const advice = /opset|is not a registered function|IR version/i.test(reason)
    ? `. Its operator sets are ${opsets.join(', ')}: export it with an older one, such as target_opset={"": 17, "ai.onnx.ml": 3} in skl2onnx or opset_version=17 in torch.onnx.export`
    : '. Export it again';
  return refused(`onnxruntime cannot open it: ${problem}${advice}`);
}

/** Error of a graph that cannot be served. @param problem - without the full stop. */
export function refused(problem: string): MillraceError {
  return new MillraceError('MODEL_REFUSED', `The graph cannot be served: ${problem}.`);
}

import { MillraceError } from '../../platform/errors.js';
import { fromFloat16 } from '../float16.js';
import { type Feature, InputEncoder } from '../input-encoder.js';
import type { ModelInput, ModelManifest } from '../manifest.js';
import { withFloatOutput } from '../onnx-file.js';
import { type ModelOutput, OutputDecoder, type OutputTensor, outputTensorsOf } from '../outputs.js';
import { inputTensorsOf, type ModelRow, packRows } from '../tensors.js';
import type { SeenOutput } from './graph-outputs.js';
import { type Feed, type Graph, refused, runGraph, type RunResult } from './read-graph.js';

/** Inputs of a model before anything is known about its outputs. */
export interface InputParts {
  inputs: ModelInput[];
  runtime: ModelManifest['runtime'];
}

/** The outputs of a graph for rows. */
export interface RanRows {
  /**
   * Outputs of all rows, or of each row if they fail together. Undefined for a row that has no features or
   * fails.
   */
  tensors: (ReadonlyMap<string, OutputTensor> | undefined)[];
  /** Why a row was not run, by its position. */
  problems: Map<number, string>;
  /** The same rows at once, and never only one. Undefined if one of them fails alone. */
  batch?: { rows: number; result: RunResult };
}

/**
 * Encodes features and runs the graph with them, each row on its own and all at once.
 *
 * @param rows - values for each input.
 * @throws MillraceError `MODEL_REFUSED` if the graph cannot be run in a process.
 */
export async function runRows(
  graph: Graph,
  { inputs, runtime }: InputParts,
  rows: readonly (readonly Feature[])[],
): Promise<RanRows> {
  const encoder = new InputEncoder(inputs, runtime);
  const problems = new Map<number, string>();
  const encoded = rows.map((row, index) => {
    const result = encoder.encode(row);
    if (!(result instanceof MillraceError)) return result;
    problems.set(index, result.message);
    return undefined;
  });
  const usable = encoded.flatMap((row, index) => (row === undefined ? [] : [{ row, index }]));
  const onnx = [...new Set([...graph.zipMaps.values()].map(({ tensor }) => tensor))].reduce(
    withFloatOutput,
    graph.onnx,
  );
  const all = usable.map(({ row }) => row);
  const together = all.length === 1 ? [...all, ...all] : all;
  const runs = all.length === 0 ? [] : [...all.map((row) => [row]), together];
  const results = await runGraph(
    onnx,
    runs.map((each) => feedsOf(graph, { inputs, runtime }, each)),
  );
  const tensors: RanRows['tensors'] = rows.map(() => undefined);
  for (const [at, { index }] of usable.entries()) {
    const result: RunResult = results[at] ?? { failed: 'it was not run' };
    if ('failed' in result) problems.set(index, result.failed);
    else tensors[index] = result;
  }
  // Together they can only fail for a row that fails alone.
  const ranAll = usable.every(({ index }) => tensors[index] !== undefined);
  const batch = ranAll ? results.at(-1) : undefined;
  return {
    tensors,
    problems,
    ...(batch === undefined ? {} : { batch: { rows: together.length, result: batch } }),
  };
}

/**
 * Rejects a graph that scores each row, but not all of them at once, as the stream does.
 *
 * @throws MillraceError `MODEL_REFUSED`
 */
export function requireBatches({ batch }: RanRows): void {
  if (batch === undefined) return;
  const { rows, result } = batch;
  if ('failed' in result) {
    throw refused(
      `it takes one row, but fails with ${rows} rows at once: ${result.failed}. Export it with a dynamic batch dimension`,
    );
  }
  for (const [name, { dims, data }] of result) {
    if (data.length % rows !== 0 || (dims[0] !== rows && data.length !== rows)) {
      throw refused(
        `its output ${name} is [${dims.join(', ')}] for ${rows} rows. Each output needs a part for each row: export it with a dynamic batch dimension`,
      );
    }
  }
}

function feedsOf(graph: Graph, parts: InputParts, rows: readonly ModelRow[]): Feed[] {
  return inputTensorsOf(parts).map((tensor) => {
    const rank = graph.inputs.find(({ name }) => name === tensor.name)?.shape.length;
    const inner = tensor.shape ?? (rank === 1 ? [] : [1]);
    return {
      name: tensor.name,
      dtype: tensor.dtype,
      dims: [rows.length, ...inner],
      data: packRows(tensor, rows),
    };
  });
}

/** Returns the outputs of all rows together, by tensor. */
export function seenOutputs({ tensors }: RanRows): Map<string, SeenOutput> {
  const seen = new Map<string, { width: number; values: (number | string)[] }>();
  for (const outputs of tensors) {
    for (const [name, { data, dtype }] of outputs ?? []) {
      const each = seen.get(name) ?? { width: data.length, values: [] };
      each.values.push(...Array.from<number | string | bigint>(data).map(toPlain(dtype)));
      seen.set(name, each);
    }
  }
  return seen;
}

function toPlain(dtype: string): (value: number | string | bigint) => number | string {
  if (dtype === 'float16') return (bits) => fromFloat16(Number(bits));
  if (dtype === 'bool') return (value) => (value === 1 ? 'true' : 'false');
  return (value) => (typeof value === 'bigint' ? String(value) : value);
}

/** Returns the answers for rows that were run, or why there is none. */
export function decodeRows(
  parts: Pick<ModelManifest, 'output' | 'outputs' | 'runtime'>,
  { zipMaps }: Graph,
  { tensors, problems }: RanRows,
): (ModelOutput | string)[] {
  const decoder = new OutputDecoder(parts);
  const names = outputTensorsOf(parts);
  return tensors.map((outputs, index) => {
    if (outputs === undefined) return problems.get(index) ?? 'it was not run';
    const wanted = names.map((name) => outputs.get(zipMaps.get(name)?.tensor ?? name));
    try {
      const [answer] = decoder.decode(
        wanted.filter((each) => each !== undefined),
        1,
      );
      return answer instanceof MillraceError ? answer.message : (answer ?? 'it has no answer');
    } catch (error) {
      if (error instanceof MillraceError) return error.message;
      throw error;
    }
  });
}

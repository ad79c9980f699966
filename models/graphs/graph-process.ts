// Runs in a separate process, started by readGraph(): opens one graph, runs it if asked, and sends what it
// has.
import { messageOf } from '../../platform/errors.js';
import { InferenceSession, Tensor } from '../onnxruntime.js';
import type { OutputTensor } from '../outputs.js';
import type { TensorData } from '../tensors.js';
import type { Feed, GraphAnswer, GraphRequest, GraphTensor, RunResult } from './read-graph.js';

process.once('message', (message) => {
  void answer(message as GraphRequest).then((result) => process.send?.(result, () => process.exit(0)));
});

async function answer({ onnx, runs }: GraphRequest): Promise<GraphAnswer> {
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(onnx, { executionProviders: ['cpu'], logSeverityLevel: 4 });
  } catch (error) {
    return { unopened: messageOf(error) };
  }
  const inputs = describe(session.inputMetadata);
  const outputs = describe(session.outputMetadata);
  const wanted = outputs.flatMap(({ name, dtype }) => (dtype === undefined ? [] : [name]));
  const results: RunResult[] = [];
  for (const feeds of runs) results.push(await run(session, feeds, wanted));
  return { inputs, outputs, results };
}

async function run(
  session: InferenceSession,
  feeds: readonly Feed[],
  wanted: readonly string[],
): Promise<RunResult> {
  // A graph with sequences only; run() takes no empty list.
  if (wanted.length === 0) return new Map();
  try {
    const given = feeds.map(
      ({ name, dtype, dims, data }) => [name, new Tensor(dtype as 'int8', data as Int8Array, dims)] as const,
    );
    const made = await session.run(Object.fromEntries(given), wanted);
    return new Map(Object.entries(made).map(([name, each]) => [name, toPlain(each)]));
  } catch (error) {
    return { failed: messageOf(error) };
  }
}

function describe(tensors: readonly InferenceSession.ValueMetadata[]): GraphTensor[] {
  return tensors.map((each) =>
    each.isTensor
      ? { name: each.name, dtype: each.type, shape: [...each.shape] }
      : { name: each.name, dtype: undefined, shape: [] },
  );
}

function toPlain({ type: dtype, dims, data }: Tensor): OutputTensor {
  return { dtype, dims: [...dims], data: data as TensorData };
}

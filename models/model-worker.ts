// Runs in a worker thread: one ONNX session, one call at a time.
// onnxruntime-node 1.30's run() looks asynchronous but computes on the calling thread (a setImmediate around a
// synchronous call): outside a worker it would block the event loop for the whole run.
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../platform/errors.js';
import type { FromWorker, ToWorker, WorkerModel } from './model-thread.js';
import { graphMisfits } from './graph-check.js';
import { withFloatOutput, zipMapsOf } from './onnx-file.js';
import { InferenceSession, Tensor } from './onnxruntime.js';
import { type OutputTensor, outputTensorsOf } from './outputs.js';
import { type InputTensor, inputTensorsOf, type TensorData } from './tensors.js';

const port = parentPort;
if (port === null) throw new Error('model-worker is started by ModelThread, in a worker thread.');

/** Maximum number of misfits in an error. */
const maxMisfits = 3;

const { onnx, manifest }: WorkerModel = workerData;
const inputs = inputTensorsOf(manifest);
/** Outputs of the graph to fetch: for a ZipMap the tensor before it. */
let fetched: readonly string[] = [];
/** Inputs whose rows are scalars in a tensor with the batch as its only dimension. */
const flatInputs = new Set<string>();
const session = await openSession();

if (session !== undefined) {
  let last = Promise.resolve();
  port.on('message', (message: ToWorker) => {
    last = last.then(() => (message === 'stop' ? stop(session) : answer(session, message)));
  });
  send({ ready: true });
}

async function openSession(): Promise<InferenceSession | undefined> {
  const zipMaps = zipMapsOf(onnx);
  const wanted = outputTensorsOf(manifest);
  const zipped = wanted.flatMap((name) => zipMaps.get(name)?.tensor ?? []);
  fetched = wanted.map((name) => zipMaps.get(name)?.tensor ?? name);
  let opened: InferenceSession;
  try {
    opened = await InferenceSession.create(zipped.reduce(withFloatOutput, onnx), {
      executionProviders: ['cpu'],
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 4, // errors are returned, so onnxruntime does not need to print them
    });
  } catch (error) {
    send({ refused: `onnxruntime cannot open it: ${messageOf(error)}. Export it again` });
    return undefined;
  }
  const { inputMetadata, outputMetadata } = opened;
  const misfits = graphMisfits(manifest, { inputs: inputMetadata, outputs: outputMetadata, zipMaps });
  if (misfits.length > 0) {
    send({ refused: misfits.slice(0, maxMisfits).join('; ') });
    return undefined;
  }
  for (const input of inputMetadata) {
    if (input.isTensor && input.shape.length === 1) flatInputs.add(input.name);
  }
  return opened;
}

async function answer(
  running: InferenceSession,
  { id, data, count }: Exclude<ToWorker, 'stop'>,
): Promise<void> {
  try {
    const feeds = Object.fromEntries(
      inputs.map((input, index) => [input.name, toTensor(input, data[index] ?? [], count)]),
    );
    const results = await running.run(feeds, fetched);
    const tensors = fetched.map((name) => toOutput(name, results[name]));
    const buffers = tensors.flatMap((tensor) => ('buffer' in tensor.data ? [tensor.data.buffer] : []));
    send({ id, tensors }, buffers);
  } catch (error) {
    send({ id, error: messageOf(error) });
  }
}

function toTensor({ name, dtype, shape, width }: InputTensor, data: TensorData, count: number): Tensor {
  const inner = shape ?? (flatInputs.has(name) ? [] : [width]);
  // The constructor is overloaded by dtype; the data was made for this one.
  return new Tensor(dtype as 'float32', data as Float32Array, [count, ...inner]);
}

function toOutput(name: string, tensor: Tensor | undefined): OutputTensor {
  if (tensor === undefined) throw new Error(`the output ${name} is missing`);
  const { type: dtype, dims } = tensor;
  return { dtype, dims, data: tensor.data.slice() };
}

async function stop(running: InferenceSession): Promise<void> {
  await running.release();
  port?.close();
}

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

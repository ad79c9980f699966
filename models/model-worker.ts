// Runs in a worker thread: one ONNX session, one call at a time.
// onnxruntime-node 1.30's run() looks asynchronous but computes on the calling thread (a setImmediate around a
// synchronous call): outside a worker it would block the event loop for the whole run.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../platform/errors.js';
import type { FromWorker, ToWorker, WorkerModel } from './model-thread.js';
import type { OutputTensor } from './outputs.js';
import type { InputTensor, TensorData } from './tensors.js';

const port = parentPort;
if (port === null) throw new Error('model-worker is started by ModelThread, in a worker thread.');

const { onnx, inputs, outputs }: WorkerModel = workerData;
const session = await openSession();
/** Inputs whose rows are scalars in a tensor with the batch as its only dimension. */
const flatInputs = new Set(
  session?.inputMetadata
    .filter((input) => input.isTensor && input.shape.length === 1)
    .map(({ name }) => name),
);

if (session !== undefined) {
  let last = Promise.resolve();
  port.on('message', (message: ToWorker) => {
    last = last.then(() => (message === 'stop' ? stop(session) : answer(session, message)));
  });
  send({ ready: true });
}

async function openSession(): Promise<InferenceSession | undefined> {
  try {
    const opened = await InferenceSession.create(onnx, {
      executionProviders: ['cpu'],
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 4, // errors are returned, so onnxruntime does not need to print them
    });
    for (const [wanted, names] of [
      [inputs.map(({ name }) => name), opened.inputNames],
      [outputs, opened.outputNames],
    ] as const) {
      const missing = wanted.find((name) => !names.includes(name));
      if (missing !== undefined) throw new Error(`it has no tensor ${missing}, only ${names.join(', ')}`);
    }
    return opened;
  } catch (error) {
    send({ refused: messageOf(error) });
    return undefined;
  }
}

async function answer(
  running: InferenceSession,
  { id, data, count }: Exclude<ToWorker, 'stop'>,
): Promise<void> {
  try {
    const feeds = Object.fromEntries(
      inputs.map((input, index) => [input.name, toTensor(input, data[index] ?? [], count)]),
    );
    const results = await running.run(feeds, outputs);
    const tensors = outputs.map((name) => toOutput(name, results[name]));
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
  // Where there is a Float16Array, onnxruntime uses it.
  const data = dtype === 'float16' ? bitsOf(tensor.data) : tensor.data.slice();
  return { dtype, dims, data };
}

function bitsOf(data: Tensor['data']): TensorData {
  const { buffer, byteOffset, length } = data as Uint16Array<ArrayBuffer>;
  return new Uint16Array(buffer, byteOffset, length).slice();
}

async function stop(running: InferenceSession): Promise<void> {
  await running.release();
  port?.close();
}

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

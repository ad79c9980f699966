// Runs in a worker thread: one ONNX session, one call at a time.
// onnxruntime-node 1.30's run() looks asynchronous but computes on the calling thread (a setImmediate around a
// synchronous call): outside a worker it would block the event loop for the whole run.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../platform/errors.js';
import type { FromWorker, Scores, ToWorker, WorkerModel } from './model-thread.js';

const port = parentPort;
if (port === null) throw new Error('model-worker is started by ModelThread, in a worker thread.');

const { onnx, width, inputTensor, inputDtype, outputTensor, outputColumn }: WorkerModel = workerData;
const session = await openSession();

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
    for (const [given, names] of [
      [inputTensor, opened.inputNames],
      [outputTensor, opened.outputNames],
    ] as const) {
      if (!names.includes(given)) throw new Error(`it has no tensor ${given}, only ${names.join(', ')}`);
    }
    return opened;
  } catch (error) {
    send({ refused: messageOf(error) });
    return undefined;
  }
}

async function answer(
  running: InferenceSession,
  { id, rows, count }: Exclude<ToWorker, 'stop'>,
): Promise<void> {
  try {
    const values = inputDtype === 'float32' ? rows : Float64Array.from(rows);
    const feeds = { [inputTensor]: new Tensor(inputDtype, values, [count, width]) };
    const result = (await running.run(feeds, [outputTensor]))[outputTensor];
    const output =
      outputColumn === undefined ? onlyColumn(result, count) : column(result, count, outputColumn);
    send({ id, output }, [output.buffer]);
  } catch (error) {
    send({ id, error: messageOf(error) });
  }
}

function onlyColumn(tensor: Tensor | undefined, count: number): Scores {
  const data = tensor?.data;
  if (!(data instanceof Float32Array || data instanceof Float64Array) || data.length !== count) {
    throw new Error(`${outputTensor} is not ${count} floating-point numbers`);
  }
  return data.slice();
}

function column(tensor: Tensor | undefined, count: number, wanted: number): Scores {
  const data = tensor?.data;
  const [rows, columns = 0, ...more] = tensor?.dims ?? [];
  const fits = rows === count && wanted < columns && more.length === 0;
  if (!(data instanceof Float32Array || data instanceof Float64Array) || !fits) {
    throw new Error(`${outputTensor} has no column ${wanted} of ${count} floating-point numbers`);
  }
  const scores = data instanceof Float32Array ? new Float32Array(count) : new Float64Array(count);
  return scores.map((_, row) => data[row * columns + wanted] ?? Number.NaN);
}

async function stop(running: InferenceSession): Promise<void> {
  await running.release();
  port?.close();
}

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

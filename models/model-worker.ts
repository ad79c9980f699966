// Runs in a worker thread: one ONNX session, one call at a time.
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../platform/errors.js';
import { ModelSession } from './model-session.js';
import type { FromWorker, ToWorker, WorkerModel } from './model-thread.js';
import * as onnxruntime from './onnxruntime.js';

const port = parentPort;
if (port === null) throw new Error('model-worker is started by ModelThread, in a worker thread.');

const model: WorkerModel = workerData;
const session = await ModelSession.open(onnxruntime, model).catch((error: unknown) => {
  send({ refused: messageOf(error) });
});

if (session !== undefined) {
  let last = Promise.resolve();
  port.on('message', (message: ToWorker) => {
    last = last.then(() => (message === 'stop' ? stop(session) : answer(session, message)));
  });
  send({ ready: true });
}

async function answer(running: ModelSession, { id, data, count }: Exclude<ToWorker, 'stop'>): Promise<void> {
  try {
    const results = await running.run(data, count);
    // Copies, which can be transferred.
    const tensors = results.map((tensor) => ({ ...tensor, data: tensor.data.slice() }));
    const buffers = tensors.flatMap((tensor) => ('buffer' in tensor.data ? [tensor.data.buffer] : []));
    send({ id, tensors }, buffers);
  } catch (error) {
    send({ id, error: messageOf(error) });
  }
}

async function stop(running: ModelSession): Promise<void> {
  await running.release();
  port?.close();
}

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

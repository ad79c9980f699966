import { Worker } from 'node:worker_threads';
import { MillraceError, messageOf } from '../platform/errors.js';
import type { ModelManifest } from './manifest.js';
import type { OutputTensor } from './outputs.js';
import type { ModelArtifact } from './registry.js';
import type { TensorData } from './tensors.js';

/** Options of a worker thread. */
export interface WorkerModel {
  onnx: Uint8Array;
  manifest: ModelManifest;
}

/** A call: the elements of each input tensor for `count` rows. */
export type ToWorker = { id: number; data: TensorData[]; count: number } | 'stop';
export type FromWorker =
  | { ready: true }
  | { refused: string }
  | { id: number; tensors: OutputTensor[] }
  | { id: number; error: string };

interface Call {
  resolve: (tensors: OutputTensor[]) => void;
  reject: (error: MillraceError) => void;
}

/** One worker thread with one model, from start to exit. Answers calls in order. */
export class ModelThread {
  readonly #exited: Promise<void>;
  readonly #name: string;
  readonly #worker: Worker;
  readonly #ready: Promise<void>;
  #settleReady: { resolve: () => void; reject: (error: MillraceError) => void } | undefined;
  readonly #calls = new Map<number, Call>();
  #lastId = 0;
  #death: MillraceError | undefined;

  private constructor({ manifest, onnx }: ModelArtifact, onExit: () => void) {
    this.#name = `${manifest.name} ${manifest.version}`;
    const workerData: WorkerModel = { onnx, manifest };
    this.#worker = new Worker(new URL('./model-worker.js', import.meta.url), {
      workerData,
      name: this.#name,
      execArgv: [], // do not inherit flags such as --input-type and --inspect-brk
    });
    this.#ready = new Promise((resolve, reject) => (this.#settleReady = { resolve, reject }));
    this.#exited = new Promise((resolve) => {
      let cause: unknown;
      this.#worker.on('error', (error) => (cause = error));
      this.#worker.on('message', (message: FromWorker) => this.#receive(message));
      this.#worker.on('exit', (code) => {
        onExit();
        this.#die(code, cause);
        resolve();
      });
    });
  }

  /**
   * Starts the thread and loads the model.
   *
   * @param onExit - called when the thread has exited, before its pending calls are rejected.
   * @throws MillraceError `MODEL_REFUSED` if onnxruntime cannot open the graph or it does not fit the
   * manifest, `MODEL_WORKER_DIED` (retriable) if the thread exits before.
   */
  static async start(artifact: ModelArtifact, onExit: () => void): Promise<ModelThread> {
    let thread: ModelThread;
    try {
      thread = new ModelThread(artifact, onExit);
    } catch (error) {
      throw new MillraceError(
        'MODEL_WORKER_DIED',
        `Cannot start a worker thread for the model in ${artifact.folder}: ${messageOf(error)}. Give the process more memory or threads.`,
        { cause: error },
      );
    }
    try {
      await thread.#ready;
      return thread;
    } catch (error) {
      await thread.#worker.terminate();
      throw error;
    }
  }

  /**
   * Runs the model.
   *
   * @param data - the elements of each of `inputTensorsOf`, for `count` rows. Transferred: unusable
   *   afterwards.
   * @returns the output tensors, in the order of `outputTensorsOf`.
   * @throws MillraceError `MODEL_FAILED` (this call only), `MODEL_WORKER_DIED` (retriable).
   */
  run(data: TensorData[], count: number): Promise<OutputTensor[]> {
    return new Promise((resolve, reject) => {
      if (this.#death !== undefined) return reject(this.#death);
      const id = ++this.#lastId;
      this.#calls.set(id, { resolve, reject });
      this.#send(
        { id, data, count },
        data.flatMap((each) => ('buffer' in each ? [each.buffer] : [])),
      );
    });
  }

  /** Ends the thread after its pending calls. Only that frees all memory of the session. */
  async stop(): Promise<void> {
    this.#send('stop');
    await this.#exited;
  }

  #send(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker): void {
    if ('ready' in message) return this.#settleReady?.resolve();
    if ('refused' in message) {
      return this.#settleReady?.reject(
        new MillraceError('MODEL_REFUSED', `Model ${this.#name} is refused: ${message.refused}.`),
      );
    }
    const call = this.#calls.get(message.id);
    this.#calls.delete(message.id);
    if ('tensors' in message) return call?.resolve(message.tensors);
    call?.reject(
      new MillraceError('MODEL_FAILED', `Model ${this.#name} failed on these rows: ${message.error}.`),
    );
  }

  #die(exitCode: number, cause: unknown): void {
    this.#death = new MillraceError(
      'MODEL_WORKER_DIED',
      `The worker thread of model ${this.#name} ended (${cause === undefined ? `exit code ${exitCode}` : messageOf(cause)}). Try again: the next call starts another.`,
      { cause },
    );
    this.#settleReady?.reject(this.#death);
    for (const { reject } of this.#calls.values()) reject(this.#death);
    this.#calls.clear();
  }
}

import { MillraceError, messageOf } from '../platform/errors.js';
import { proveGolden } from './golden-check.js';
import type { ModelManifest } from './manifest.js';
import type { RowResult } from './micro-batcher.js';
import { ModelThread } from './model-thread.js';
import { OwnThreadModel } from './own-thread-model.js';
import { OutputDecoder, type OutputShapes, shapesOf } from './outputs.js';
import { readModel, type ModelArtifact } from './registry.js';
import { type InputTensor, inputTensorsOf, type ModelRow, packRows } from './tensors.js';

export interface ModelRuntimeOptions {
  /** Worker threads per model (about 11 MB each), at least 1. Default 1. */
  workers?: number;
  /**
   * Calls that should take up to this time run on the caller's thread, which spares them two messages between
   * threads; a model whose calls all do has no worker. Only for versions whose golden rows are known to end:
   * a registered one was tried in a process of its own. Milliseconds. Default 0: none does.
   */
  maxOwnMs?: number;
}

export interface LoadedModel {
  readonly manifest: ModelManifest;
  /** Of each named output: its dimensions in one row, from the golden rows. */
  readonly outputShapes: OutputShapes;
  /**
   * Scores rows on a worker thread. Each worker answers calls in order. The queue is unbounded.
   *
   * @param rows - as encoded by `InputEncoder`: one value for each of the manifest's inputs.
   * @returns one answer per row, or its error: `OUTPUT_INVALID` (an output that is no finite number, or no
   *   class).
   * @throws MillraceError `MODEL_FAILED` (wrong shape or failed run, only this call), `MODEL_WORKER_DIED`
   * (retriable; the next call starts another worker), `MODEL_UNLOADED`.
   */
  predict(rows: readonly ModelRow[]): Promise<RowResult[]>;
  /** Completes pending calls, then ends the model's workers. Rejects later calls. */
  unload(): Promise<void>;
}

export interface ModelRuntime {
  /**
   * Reads a version folder, starts its workers and verifies the golden rows on each, one by one and as a
   * batch.
   *
   * @throws MillraceError `MODEL_REFUSED` (a golden row is not reproduced, or onnxruntime cannot open the
   * graph), and as `readModel`.
   */
  load(folder: string): Promise<LoadedModel>;
  /** Unloads every model. */
  close(): Promise<void>;
}

/** Runs each ONNX model in its own worker threads, so that a slow or crashed model does not affect others. */
export function createModelRuntime({ workers = 1, maxOwnMs = 0 }: ModelRuntimeOptions = {}): ModelRuntime {
  const models = new Set<Model>();
  let closed = false;
  return {
    async load(folder) {
      const model = new Model(await readModel(folder), { workers, maxOwnMs }, () => models.delete(model));
      models.add(model);
      try {
        await model.start();
        if (closed)
          throw new MillraceError('MODEL_UNLOADED', `The model runtime is closed: ${folder} is not loaded.`);
      } catch (error) {
        await model.unload();
        throw error;
      }
      return model;
    },
    async close() {
      closed = true;
      await Promise.all(Array.from(models, (model) => model.unload()));
    },
  };
}

class Model implements LoadedModel {
  readonly manifest: ModelManifest;
  outputShapes: OutputShapes = {};
  readonly #artifact: ModelArtifact;
  readonly #workers: ModelWorker[];
  readonly #maxOwnMs: number;
  readonly #onUnload: () => void;
  /** Scores small calls on the caller's thread. */
  #own: OwnThreadModel | undefined;
  #unloading: Promise<void> | undefined;

  constructor(
    artifact: ModelArtifact,
    { workers, maxOwnMs }: Required<ModelRuntimeOptions>,
    onUnload: () => void,
  ) {
    this.#artifact = artifact;
    this.manifest = artifact.manifest;
    this.#workers = Array.from({ length: workers }, () => new ModelWorker(artifact));
    this.#maxOwnMs = maxOwnMs;
    this.#onUnload = onUnload;
  }

  async start(): Promise<void> {
    if (this.#maxOwnMs > 0) this.#own = await OwnThreadModel.open(this.#artifact, this.#maxOwnMs);
    // A worker starts only for a call that is too long for the caller's thread.
    if (this.#own === undefined) await Promise.all(this.#workers.map((worker) => worker.thread()));
    this.outputShapes = (this.#own ?? this.#workers[0])?.outputShapes ?? {};
  }

  async predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    const { name, version, inputs } = this.manifest;
    if (this.#unloading !== undefined) {
      throw new MillraceError('MODEL_UNLOADED', `Model ${name} ${version} is unloaded. Load it again.`);
    }
    const odd = rows.find(({ length }) => length !== inputs.length);
    if (odd !== undefined) {
      throw new MillraceError(
        'MODEL_FAILED',
        `Model ${name} ${version} takes ${inputs.length} values per row, but got ${odd.length}.`,
      );
    }
    if (rows.length === 0) return [];
    if (this.#own?.takes(rows.length) === true) return this.#own.predict(rows);
    const worker = this.#workers.reduce((best, next) => (next.waiting < best.waiting ? next : best));
    return worker.predict(rows);
  }

  unload(): Promise<void> {
    this.#unloading ??= Promise.all([
      ...this.#workers.map((worker) => worker.stop()),
      this.#own?.close(),
    ]).then(this.#onUnload);
    return this.#unloading;
  }
}

/**
 * Slot of a worker thread. Only a call replaces a dead thread, so that a crashing model cannot restart in a
 * loop.
 */
class ModelWorker {
  /** Pending calls. */
  waiting = 0;
  /** Known once the thread has started. */
  outputShapes: OutputShapes = {};
  readonly #artifact: ModelArtifact;
  readonly #inputs: readonly InputTensor[];
  readonly #decoder: OutputDecoder;
  #thread: Promise<ModelThread> | undefined;
  #wasProven = false;

  constructor(artifact: ModelArtifact) {
    this.#artifact = artifact;
    this.#inputs = inputTensorsOf(artifact.manifest);
    this.#decoder = new OutputDecoder(artifact.manifest);
  }

  thread(): Promise<ModelThread> {
    this.#thread ??= this.#start();
    return this.#thread;
  }

  async predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    this.waiting++;
    try {
      return await this.#predict(await this.thread(), rows);
    } finally {
      this.waiting--;
    }
  }

  async stop(): Promise<void> {
    const thread = await this.#thread?.catch(() => undefined);
    await thread?.stop();
  }

  #start(): Promise<ModelThread> {
    const empty = () => {
      if (this.#thread === starting) this.#thread = undefined;
    };
    const starting = this.#startProven(empty);
    void starting.catch(empty);
    return starting;
  }

  /** A verified version fails to restart only for lack of resources, so the error is retriable. */
  async #startProven(onExit: () => void): Promise<ModelThread> {
    try {
      const thread = await this.#startThread(onExit);
      this.#wasProven = true;
      return thread;
    } catch (error) {
      if (!this.#wasProven || (error instanceof MillraceError && error.retriable)) throw error;
      const { name, version } = this.#artifact.manifest;
      throw new MillraceError(
        'MODEL_WORKER_DIED',
        `Cannot restart model ${name} ${version}: ${messageOf(error)}. It may lack memory or threads. The next call retries.`,
        { cause: error },
      );
    }
  }

  async #startThread(onExit: () => void): Promise<ModelThread> {
    const thread = await ModelThread.start(this.#artifact, onExit);
    try {
      const [answer] = await proveGolden(this.#artifact, (rows) => this.#predict(thread, rows));
      if (answer !== undefined) this.outputShapes = shapesOf(answer);
      return thread;
    } catch (error) {
      await thread.stop();
      throw error;
    }
  }

  async #predict(thread: ModelThread, rows: readonly ModelRow[]): Promise<RowResult[]> {
    const data = this.#inputs.map((input) => packRows(input, rows));
    const tensors = await thread.run(data, rows.length);
    return this.#decoder.decode(tensors, rows.length);
  }
}

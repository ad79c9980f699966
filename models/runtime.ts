import { MillraceError, messageOf } from '../platform/errors.js';
import type { ModelManifest } from './manifest.js';
import { ModelThread, type Scores } from './model-thread.js';
import { readModel, type ModelArtifact } from './registry.js';

/** Tolerance for golden rows, relative to the largest golden prediction (at least 1): trees sum float32 values of that size. */
const tolerance = 1e-5;

export interface ModelRuntimeOptions {
  /** Worker threads per model (about 11 MB each), at least 1. Default 1. */
  workers?: number;
}

export interface LoadedModel {
  readonly manifest: ModelManifest;
  /** SHA-256 of the loaded bytes in lowercase hex. */
  readonly digest: string;
  /**
   * Scores rows on a worker thread. Each worker answers calls in order. The queue is unbounded.
   *
   * @param rows - row-major, `count × manifest.inputs.length` values in the manifest's order. Copied, so reusable at once.
   * @returns `count` scores, including NaN and infinities of the model.
   * @throws MillraceError `MODEL_FAILED` (wrong shape or failed run, only this call), `MODEL_WORKER_DIED`
   * (retriable; the next call starts another worker), `MODEL_UNLOADED`.
   */
  predict(rows: Float32Array, count: number): Promise<Scores>;
  /** Completes pending calls, then ends the model's workers. Rejects later calls. */
  unload(): Promise<void>;
}

export interface ModelRuntime {
  /**
   * Reads a version folder, starts its workers and verifies the golden rows on each, one by one and as a batch.
   *
   * @throws MillraceError `MODEL_REFUSED` (a golden row is not reproduced within 1e-5 of the largest golden prediction,
   * or onnxruntime cannot open the graph), and as `readModel`.
   */
  load(folder: string): Promise<LoadedModel>;
  /** Unloads every model. */
  close(): Promise<void>;
}

/** Runs each ONNX model in its own worker threads, so that a slow or crashed model does not affect others. */
export function createModelRuntime({ workers = 1 }: ModelRuntimeOptions = {}): ModelRuntime {
  const models = new Set<Model>();
  let closed = false;
  return {
    async load(folder) {
      const model = new Model(await readModel(folder), workers, () => models.delete(model));
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
  readonly digest: string;
  readonly #workers: ModelWorker[];
  readonly #onUnload: () => void;
  #unloading: Promise<void> | undefined;

  constructor(artifact: ModelArtifact, workers: number, onUnload: () => void) {
    this.manifest = artifact.manifest;
    this.digest = artifact.manifest.digest;
    this.#workers = Array.from({ length: workers }, () => new ModelWorker(artifact));
    this.#onUnload = onUnload;
  }

  async start(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.thread()));
  }

  async predict(rows: Float32Array, count: number): Promise<Scores> {
    const { name, version, inputs } = this.manifest;
    if (this.#unloading !== undefined) {
      throw new MillraceError('MODEL_UNLOADED', `Model ${name} ${version} is unloaded. Load it again.`);
    }
    if (!Number.isInteger(count) || count < 0 || rows.length !== count * inputs.length) {
      throw new MillraceError(
        'MODEL_FAILED',
        `Model ${name} ${version} takes ${inputs.length} values per row, but got ${rows.length} values for ${count} rows.`,
      );
    }
    if (count === 0) return new Float32Array(0);
    const worker = this.#workers.reduce((best, next) => (next.waiting < best.waiting ? next : best));
    return worker.run(rows.slice(), count);
  }

  unload(): Promise<void> {
    this.#unloading ??= Promise.all(this.#workers.map((worker) => worker.stop())).then(this.#onUnload);
    return this.#unloading;
  }
}

/** Slot of a worker thread. Only a call replaces a dead thread, so that a crashing model cannot restart in a loop. */
class ModelWorker {
  /** Pending calls. */
  waiting = 0;
  readonly #artifact: ModelArtifact;
  #thread: Promise<ModelThread> | undefined;
  #wasProven = false;

  constructor(artifact: ModelArtifact) {
    this.#artifact = artifact;
  }

  thread(): Promise<ModelThread> {
    this.#thread ??= this.#start();
    return this.#thread;
  }

  async run(rows: Float32Array<ArrayBuffer>, count: number): Promise<Scores> {
    this.waiting++;
    try {
      const thread = await this.thread();
      return await thread.run(rows, count);
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
      const thread = await startProven(this.#artifact, onExit);
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
}

async function startProven(artifact: ModelArtifact, onExit: () => void): Promise<ModelThread> {
  const thread = await ModelThread.start(artifact, onExit);
  try {
    await proveGolden(thread, artifact);
    return thread;
  } catch (error) {
    await thread.stop();
    throw error;
  }
}

/** Verifies every golden row alone, then all in one batch. Also warms up the model. */
async function proveGolden(thread: ModelThread, { folder, manifest, golden }: ModelArtifact): Promise<void> {
  const refused = (problem: string, cause?: unknown) =>
    new MillraceError(
      'MODEL_REFUSED',
      `Model ${manifest.name} ${manifest.version} (${folder}) was rejected: ${problem}. The graph differs from the trained model: export it again.`,
      { cause },
    );
  const run = async (rows: number[], count: number, what: string) => {
    try {
      return await thread.run(Float32Array.from(rows), count);
    } catch (error) {
      if (error instanceof MillraceError && error.retriable) throw error;
      throw refused(`${what}: ${messageOf(error)}`, error);
    }
  };
  const allowed =
    tolerance * golden.reduce((size, { prediction }) => Math.max(size, Math.abs(prediction)), 1);
  const check = (index: number, got: number | undefined, how: string) => {
    const expected = golden[index]?.prediction ?? Number.NaN;
    // The negation also rejects NaN.
    if (!(Math.abs((got ?? Number.NaN) - expected) <= allowed)) {
      throw refused(`golden row ${index} ${how} returns ${got}, expected ${expected} within ${allowed}`);
    }
  };
  for (const [index, { features }] of golden.entries()) {
    check(index, (await run(features, 1, `golden row ${index}`))[0], 'alone');
  }
  const scores = await run(
    golden.flatMap(({ features }) => features),
    golden.length,
    'the golden rows as a batch',
  );
  golden.forEach((_, index) => check(index, scores[index], 'in a batch'));
}

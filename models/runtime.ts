import { MillraceError, messageOf } from '../platform/errors.js';
import type { ModelManifest } from './manifest.js';
import { ModelThread, type Scores } from './model-thread.js';
import { readModel, type ModelArtifact } from './registry.js';

/** How far a golden row may be off, as a share of the largest golden prediction, or of 1: trees add up float32 of that size. */
const tolerance = 1e-5;

export interface ModelRuntimeOptions {
  /** Worker threads of each model (about 11 MB each), at least 1. Default 1. */
  workers?: number;
}

export interface LoadedModel {
  readonly manifest: ModelManifest;
  /** SHA-256 of the bytes that are loaded, lower-case hex. */
  readonly digest: string;
  /**
   * Scores rows off the calling thread. Calls are answered in order, per worker; nothing bounds the queue but the caller.
   *
   * @param rows - row-major, `count × manifest.inputs.length` values in the manifest's order; copied once, free afterwards.
   * @returns `count` scores; NaN and infinities as the model gave them.
   * @throws MillraceError `MODEL_FAILED` (wrong shape, or the run failed: this call only), `MODEL_WORKER_DIED`
   * (retriable; the next call starts another worker), `MODEL_UNLOADED`.
   */
  predict(rows: Float32Array, count: number): Promise<Scores>;
  /** Answers the calls made so far, then ends the model's workers. Calls made later are rejected. */
  unload(): Promise<void>;
}

export interface ModelRuntime {
  /**
   * Reads a version folder, starts its workers and proves each on the golden rows, one by one and as a batch.
   *
   * @throws MillraceError `MODEL_REFUSED` (a golden row is not reproduced within 1e-5 of the largest golden prediction, or onnxruntime cannot open the
   * graph) and what `readModel` throws.
   */
  load(folder: string): Promise<LoadedModel>;
  /** Unloads every model. */
  close(): Promise<void>;
}

/** ONNX models in worker threads, each model in its own: one that is slow, dies or is unloaded leaves the others alone. */
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
        `Model ${name} ${version} takes ${inputs.length} values a row; got ${rows.length} values for ${count} rows.`,
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

/** One place for a thread: filled again by the next call after a thread died, so that a model that kills its thread can't spin. */
class ModelWorker {
  /** Calls not answered yet. */
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

  /** A version that was proven is as good as it was: what keeps it from starting again is the machine's, and may pass. */
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
        `Model ${name} ${version} ran and can't be started again: ${messageOf(error)}. It may lack memory or threads: the next call tries again.`,
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

/** Every golden row alone, then all in one batch; this is the warm-up too. */
async function proveGolden(thread: ModelThread, { folder, manifest, golden }: ModelArtifact): Promise<void> {
  const refused = (problem: string, cause?: unknown) =>
    new MillraceError(
      'MODEL_REFUSED',
      `Model ${manifest.name} ${manifest.version} (${folder}) is refused: ${problem}. The graph is not the model that was trained: export it again.`,
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
    // The negation refuses NaN too.
    if (!(Math.abs((got ?? Number.NaN) - expected) <= allowed)) {
      throw refused(`golden row ${index} ${how} gives ${got}, expected ${expected} within ${allowed}`);
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

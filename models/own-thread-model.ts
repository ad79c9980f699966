import { MillraceError, messageOf } from '../platform/errors.js';
import { proveGolden } from './golden-check.js';
import { encoderOf, type Feature } from './input-encoder.js';
import type { RowResult } from './micro-batcher.js';
import { ModelSession } from './model-session.js';
import { OutputDecoder, type OutputShapes, shapesOf } from './outputs.js';
import type { ModelArtifact } from './registry.js';
import { type InputTensor, inputTensorsOf, type ModelRow, packRows } from './tensors.js';

/** Opening a larger graph would block the caller's thread for long. */
const maxGraphBytes = 4 * 1024 * 1024;
/**
 * After a call that took longer, the model leaves the caller's thread: some graphs take as long as a value
 * says.
 */
const tooLongMs = 250;

/** A model that scores on the caller's thread. */
export class OwnThreadModel {
  /** Of each named output: its dimensions in one row, from the golden rows. */
  outputShapes: OutputShapes = {};
  readonly #name: string;
  readonly #session: ModelSession;
  readonly #inputs: readonly InputTensor[];
  readonly #decoder: OutputDecoder;
  readonly #inFlight = new Set<Promise<unknown>>();
  /** Largest call, from the time of the golden rows. */
  #maxRows = 0;

  private constructor({ manifest }: ModelArtifact, session: ModelSession) {
    this.#name = `${manifest.name} ${manifest.version}`;
    this.#session = session;
    this.#inputs = inputTensorsOf(manifest);
    this.#decoder = new OutputDecoder(manifest);
  }

  /**
   * Opens and verifies a model.
   *
   * @param maxMs - expected duration of the largest call that it takes.
   * @returns undefined if it is not for the caller's thread.
   * @throws MillraceError `MODEL_REFUSED`.
   */
  static async open(artifact: ModelArtifact, maxMs: number): Promise<OwnThreadModel | undefined> {
    const { manifest, onnx } = artifact;
    // onnxruntime reads float16 only where this thread has no Float16Array: see onnxruntime.ts.
    const isHalf = JSON.stringify(manifest).includes('float16');
    if (isHalf || onnx.length > maxGraphBytes) return undefined;
    let session: ModelSession;
    try {
      session = await ModelSession.open(await import('onnxruntime-node'), artifact);
    } catch (error) {
      const { name, version } = manifest;
      const problem = `Model ${name} ${version} is refused: ${messageOf(error)}.`;
      throw new MillraceError('MODEL_REFUSED', problem, { cause: error });
    }
    const model = new OwnThreadModel(artifact, session);
    try {
      if ((await model.#msOfRow(artifact)) <= maxMs) model.#maxRows = await model.#prove(artifact, maxMs);
    } catch (error) {
      await session.release();
      throw error;
    }
    if (model.#maxRows > 0) return model;
    await session.release();
    return undefined;
  }

  /** Returns how long a golden row takes, or 0 if it fails, which its verification reports. */
  async #msOfRow({ manifest, golden }: ModelArtifact): Promise<number> {
    const row = encoderOf(manifest).encode((golden.rows[0]?.features ?? []) as Feature[]);
    if (row instanceof MillraceError) return 0;
    let quickest = Infinity;
    // The first calls also compile code.
    for (let call = 0; call < 3; call++) {
      const began = performance.now();
      const isDone = await this.#run([row]).then(
        () => true,
        () => false,
      );
      if (!isDone) return 0;
      quickest = Math.min(quickest, performance.now() - began);
    }
    return quickest;
  }

  /** @returns how many rows it scores in `maxMs`. */
  async #prove(artifact: ModelArtifact, maxMs: number): Promise<number> {
    let msPerRow = Infinity;
    const [answer] = await proveGolden(artifact, async (rows) => {
      const began = performance.now();
      const results = await this.#run(rows).catch((error: unknown) => {
        throw this.#failure(error);
      });
      msPerRow = Math.min(msPerRow, (performance.now() - began) / rows.length);
      return results;
    });
    if (answer !== undefined) this.outputShapes = shapesOf(answer);
    return Math.floor(maxMs / msPerRow);
  }

  /** Whether a call with this number of rows should take no longer than `maxMs`. */
  takes(rows: number): boolean {
    return rows <= this.#maxRows;
  }

  /** As `LoadedModel.predict`. */
  async predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    const began = performance.now();
    const running = this.#run(rows);
    this.#inFlight.add(running);
    try {
      return await running;
    } catch (error) {
      throw this.#failure(error);
    } finally {
      this.#inFlight.delete(running);
      if (performance.now() - began > tooLongMs) this.#maxRows = 0;
    }
  }

  /** Completes pending calls, then frees the session. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight);
    await this.#session.release();
  }

  #failure(cause: unknown): MillraceError {
    const problem = `Model ${this.#name} failed on these rows: ${messageOf(cause)}.`;
    return new MillraceError('MODEL_FAILED', problem, { cause });
  }

  async #run(rows: readonly ModelRow[]): Promise<RowResult[]> {
    const data = this.#inputs.map((input) => packRows(input, rows));
    return this.#decoder.decode(await this.#session.run(data, rows.length), rows.length);
  }
}

import { MillraceError, messageOf } from '../platform/errors.js';
import { proveGolden } from './golden-check.js';
import type { RowResult } from './micro-batcher.js';
import { ModelSession } from './model-session.js';
import { OutputDecoder } from './outputs.js';
import type { ModelArtifact } from './registry.js';
import { type InputTensor, inputTensorsOf, type ModelRow, packRows } from './tensors.js';

/** Opening a larger graph would block the caller's thread for long. */
const maxGraphBytes = 4 * 1024 * 1024;
/** A model that takes longer for its golden rows, in a worker, is not for the caller's thread. */
const maxGoldenMs = 500;
/** After a call that took longer, the model leaves the caller's thread: some graphs take as long as a value says. */
const tooLongMs = 250;

/** A model that scores on the caller's thread. */
export class OwnThreadModel {
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

  /** @param goldenMs - how long the golden rows took in a worker. */
  static suits({ onnx, manifest }: ModelArtifact, goldenMs: number): boolean {
    // onnxruntime reads float16 only where this thread has no Float16Array: see onnxruntime.ts.
    const isHalf = JSON.stringify(manifest).includes('float16');
    return onnx.length <= maxGraphBytes && goldenMs <= maxGoldenMs && !isHalf;
  }

  /**
   * Opens and verifies a model that a worker has opened and verified.
   *
   * @param maxMs - expected duration of the largest call that it takes.
   * @returns undefined if it would take no call.
   * @throws MillraceError `MODEL_REFUSED`.
   */
  static async open(artifact: ModelArtifact, maxMs: number): Promise<OwnThreadModel | undefined> {
    const session = await ModelSession.open(await import('onnxruntime-node'), artifact);
    const model = new OwnThreadModel(artifact, session);
    // Of the quickest batch: the first ones also compile code.
    let msPerRow = Infinity;
    await proveGolden(artifact, async (rows) => {
      const began = performance.now();
      const results = await model.#run(rows);
      msPerRow = Math.min(msPerRow, (performance.now() - began) / rows.length);
      return results;
    });
    model.#maxRows = Math.floor(maxMs / msPerRow);
    if (model.#maxRows > 0) return model;
    await session.release();
    return undefined;
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
      throw new MillraceError(
        'MODEL_FAILED',
        `Model ${this.#name} failed on these rows: ${messageOf(error)}.`,
        { cause: error },
      );
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

  async #run(rows: readonly ModelRow[]): Promise<RowResult[]> {
    const data = this.#inputs.map((input) => packRows(input, rows));
    return this.#decoder.decode(await this.#session.run(data, rows.length), rows.length);
  }
}

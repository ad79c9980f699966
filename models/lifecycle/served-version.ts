import type { Metrics } from '../../platform/metrics.js';
import type { ModelManifest } from '../manifest.js';
import { MicroBatcher, type MicroBatcherOptions, type RowResult } from '../micro-batcher.js';
import type { LoadedModel } from '../runtime.js';

/** How rows are gathered into model calls. */
export type Batching = Pick<MicroBatcherOptions, 'maxRows' | 'maxDelayMs' | 'maxInFlight'>;

/** A loaded version at work: rows of all callers, gathered into calls of its model. */
export class ServedVersion {
  readonly manifest: ModelManifest;
  readonly #model: LoadedModel;
  readonly #batcher: MicroBatcher;
  #underWay = 0;
  #onIdle: (() => void) | undefined;
  #retiring: Promise<void> | undefined;

  constructor(model: LoadedModel, batching: Batching, metrics: Metrics) {
    this.#model = model;
    this.manifest = model.manifest;
    const { name, version, inputs } = model.manifest;
    const batchRows = metrics.modelBatchRows.labels(name, version);
    const modelSeconds = metrics.modelSeconds.labels(name, version);
    this.#batcher = new MicroBatcher((rows, count) => model.predict(rows, count), {
      ...batching,
      width: inputs.length,
      onBatch: (rows, seconds) => {
        batchRows.observe(rows);
        modelSeconds.observe(seconds);
      },
    });
  }

  /**
   * Results in the order of `rows`; see {@link MicroBatcher.predict}. Whoever calls this in the turn of the event loop in
   * which he got the version is answered, even if it is taken out of service meanwhile.
   */
  async predict(rows: number[][]): Promise<RowResult[]> {
    this.#underWay += 1;
    try {
      return await this.#batcher.predict(rows);
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#onIdle?.();
    }
  }

  /** Unloads the model once all calls made so far are answered. */
  retire(): Promise<void> {
    this.#retiring ??= this.#retire();
    return this.#retiring;
  }

  async #retire(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.#model.unload();
  }
}

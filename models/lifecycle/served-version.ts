import type { Metrics } from '../../platform/metrics.js';
import type { ModelManifest } from '../manifest.js';
import { MicroBatcher, type MicroBatcherOptions, type RowResult } from '../micro-batcher.js';
import type { OutputShapes } from '../outputs.js';
import type { LoadedModel } from '../runtime.js';
import type { ModelRow } from '../tensors.js';
import { versionDigest } from '../version-digest.js';

/** Options for batching rows into model calls. */
export type Batching = Pick<MicroBatcherOptions, 'maxRows' | 'maxDelayMs' | 'maxInFlight'>;

/** A loaded version that batches the rows of all callers. */
export class ServedVersion {
  readonly manifest: ModelManifest;
  /** As registered: see `versionDigest`. */
  readonly digest: string;
  /** Of each named output: its dimensions in one row. */
  readonly outputShapes: OutputShapes;
  readonly #model: LoadedModel;
  readonly #batcher: MicroBatcher;
  #inFlight = 0;
  #onIdle: (() => void) | undefined;
  #retiring: Promise<void> | undefined;

  /** @param digest - as registered. Default: that of the manifest. */
  constructor(
    model: LoadedModel,
    batching: Batching,
    metrics: Metrics,
    digest: string = versionDigest(model.manifest),
  ) {
    this.#model = model;
    this.digest = digest;
    this.manifest = model.manifest;
    this.outputShapes = model.outputShapes;
    const { name, version } = model.manifest;
    const batchRows = metrics.modelBatchRows.labels(name, version);
    const modelSeconds = metrics.modelSeconds.labels(name, version);
    this.#batcher = new MicroBatcher((rows) => model.predict(rows), {
      ...batching,
      onBatch: (rows, seconds) => {
        batchRows.observe(rows);
        modelSeconds.observe(seconds);
      },
    });
  }

  /**
   * Returns results in the order of `rows`; see {@link MicroBatcher.predict}. Completes a call made in the
   * same turn of the event loop in which the caller got the version, even if the version is retired
   * meanwhile.
   */
  async predict(rows: readonly ModelRow[]): Promise<RowResult[]> {
    this.#inFlight += 1;
    try {
      return await this.#batcher.predict(rows);
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#onIdle?.();
    }
  }

  /** Unloads the model after all pending calls. */
  retire(): Promise<void> {
    this.#retiring ??= this.#retire();
    return this.#retiring;
  }

  async #retire(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.#model.unload();
  }
}

import type { StateStore } from '../storage/state-store.js';

const blockSize = 1000;

/** Assigns unique producer ids, even after crashes: ids are reserved on disk in blocks. */
export class ProducerIds {
  readonly #store: StateStore;
  #next: number;
  #reservedUpTo: number;
  #reserving: Promise<void> = Promise.resolve();

  /**
   * @param highestUsed - in the logs: the state may have been damaged. A log would confuse the batches of two
   *   producers with the same id.
   */
  constructor(store: StateStore, highestUsed = -1) {
    this.#store = store;
    const [saved] = [...store.entries<number>('producer-ids')];
    this.#next = this.#reservedUpTo = Math.max(saved?.value ?? 0, highestUsed + 1);
  }

  async allocate(): Promise<number> {
    const id = this.#next++;
    if (id >= this.#reservedUpTo) {
      this.#reservedUpTo = id + blockSize;
      this.#reserving = this.#store.put([{ key: ['producer-ids', 'next'], value: this.#reservedUpTo }]);
    }
    await this.#reserving;
    return id;
  }
}

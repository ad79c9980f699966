import type { StateStore } from '../storage/state-store.js';

const blockSize = 1000;

/** Gives out producer ids that were never given before, crashes included: ids are reserved on disk in blocks. */
export class ProducerIds {
  private readonly store: StateStore;
  private next: number;
  private reservedUpTo: number;
  private reserving: Promise<void> = Promise.resolve();

  constructor(store: StateStore) {
    this.store = store;
    const [saved] = [...store.entries<number>('producer-ids')];
    this.next = this.reservedUpTo = saved === undefined ? 0 : saved.value;
  }

  async allocate(): Promise<number> {
    const id = this.next++;
    if (id >= this.reservedUpTo) {
      this.reservedUpTo = id + blockSize;
      this.reserving = this.store.put([{ key: ['producer-ids', 'next'], value: this.reservedUpTo }]);
    }
    await this.reserving;
    return id;
  }
}

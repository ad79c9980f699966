import type { BatchHeader } from '../protocol/record-batch.js';
import { Deque } from './deque.js';

/** Memory overhead of a batch besides its bytes: matters for batches of single records. */
const overheadBytes = 256;

interface CachedBatch {
  baseOffset: number;
  lastOffset: number;
  bytes: Buffer;
}

/** Limits the total bytes of the newest batches of all partitions; the oldest append is dropped first. */
export class TailCacheBudget {
  readonly #maxBytes: number;
  readonly #order = new Deque<TailCache>();
  #usedBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  added(cache: TailCache, bytes: number): void {
    this.#order.push(cache);
    this.#usedBytes += bytes;
    while (this.#usedBytes > this.#maxBytes && this.#order.length > 0)
      this.#usedBytes -= this.#order.shift()?.evict() ?? 0;
  }

  released(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

/**
 * The newest durable batches of one partition without a gap, so that consumers that keep up never read from
 * the disk.
 */
export class TailCache {
  readonly #budget: TailCacheBudget;
  readonly #batches = new Deque<CachedBatch>();

  constructor(budget: TailCacheBudget) {
    this.#budget = budget;
  }

  add(header: BatchHeader, batch: Buffer): void {
    // A view of a small batch would keep its whole network chunk alive.
    const bytes = batch.buffer.byteLength > batch.length * 2 ? Buffer.from(batch) : batch;
    this.#batches.push({ baseOffset: header.baseOffset, lastOffset: header.lastOffset, bytes });
    this.#budget.added(this, costOf(bytes));
  }

  /** Drops the oldest batch. Returns the freed bytes; 0 when {@link clear} was faster. */
  evict(): number {
    const oldest = this.#batches.shift();
    return oldest === undefined ? 0 : costOf(oldest.bytes);
  }

  clear(): void {
    while (this.#batches.length > 0) this.#budget.released(this.evict());
  }

  /** Like `Segment.read`; `undefined` when the offset is older than the cache. */
  read(offset: number, upTo: number, maxBytes: number): Buffer[] | undefined {
    const oldest = this.#batches.at(0);
    if (oldest === undefined || offset < oldest.baseOffset) return undefined;
    const found: Buffer[] = [];
    let bytes = 0;
    for (let i = this.#firstEndingAt(offset); i < this.#batches.length; i++) {
      const batch = this.#batches.at(i);
      if (batch === undefined || batch.lastOffset >= upTo) break;
      bytes += batch.bytes.length;
      if (found.length > 0 && bytes > maxBytes) break;
      found.push(batch.bytes);
    }
    return found;
  }

  #firstEndingAt(offset: number): number {
    let low = 0;
    let high = this.#batches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#batches.at(middle)?.lastOffset ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function costOf(bytes: Buffer): number {
  return bytes.length + overheadBytes;
}

/**
 * Limits the total bytes of all connections. It only counts: a connection that finds it exhausted stops
 * reading until {@link whenFree} calls, so the limit is exceeded only by bytes that were already arriving.
 */
export class MemoryBudget {
  readonly #maxBytes: number;
  #usedBytes = 0;
  readonly #waiting = new Set<() => void>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get available(): number {
    return Math.max(0, this.#maxBytes - this.#usedBytes);
  }

  get exhausted(): boolean {
    return this.#usedBytes >= this.#maxBytes;
  }

  /** Takes bytes, or releases them when negative. */
  change(bytes: number): void {
    const wasExhausted = this.exhausted;
    this.#usedBytes += bytes;
    if (!wasExhausted || this.exhausted) return;
    const woken = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of woken) wake();
  }

  /** Calls `wake` once when there is room again. */
  whenFree(wake: () => void): void {
    this.#waiting.add(wake);
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}

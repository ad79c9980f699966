/** Time as a dependency, so that tests control timeouts. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /**
   * Calls `action` once after `ms` milliseconds, at once when that is negative; the returned function cancels
   * it. Never keeps the process alive.
   */
  after(ms: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, action) {
    const timer = setTimeout(action, Math.max(0, ms));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

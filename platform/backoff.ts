/** Bounds of doubling delays, milliseconds. */
export interface BackoffLimits {
  /** Default 100. */
  firstMs?: number;
  /** Default 5,000. */
  maxMs?: number;
}

/** Returns the delay before retry number `attempt` (0 is the first): doubling from `firstMs` to `maxMs`. */
export function backoffMs(attempt: number, { firstMs = 100, maxMs = 5_000 }: BackoffLimits = {}): number {
  return Math.min(maxMs, firstMs * 2 ** attempt);
}

/**
 * Waits before retry number `attempt`, randomly up to a quarter shorter than {@link backoffMs}, so that
 * clients of a recovered engine do not all retry at once. Ends early, without an error, when the signal
 * aborts.
 */
export async function backoff(
  attempt: number,
  { signal, ...limits }: BackoffLimits & { signal?: AbortSignal } = {},
): Promise<void> {
  await pause(backoffMs(attempt, limits) * (0.75 + Math.random() * 0.25), signal);
}

/** Waits; ends early, without an error, when the signal aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end, { once: true });
  });
}

/** Wakes all waits for a change. */
export class Condition {
  #changed = new AbortController();

  notify(): void {
    const changed = this.#changed;
    this.#changed = new AbortController();
    changed.abort();
  }

  /**
   * Waits for the next {@link notify}, at most for this time; ends early, without an error, when the signal
   * aborts.
   */
  wait(ms: number, signal?: AbortSignal): Promise<void> {
    const changed = this.#changed.signal;
    return pause(ms, signal ? AbortSignal.any([changed, signal]) : changed);
  }
}

/** Waits for work in flight, at most for this time; the work then continues. */
export async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  await Promise.race([work, pause(ms, done.signal)]).finally(() => done.abort());
}

/**
 * Waits before attempt number `attempt` (0 is the first repetition): doubling from `firstMs` to `maxMs`, with a
 * quarter of jitter. Ends early, without an error, when the signal aborts.
 */
export async function backoff(
  attempt: number,
  { firstMs = 100, maxMs = 5_000, signal }: { firstMs?: number; maxMs?: number; signal?: AbortSignal },
): Promise<void> {
  const full = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 16));
  await pause(full * (0.75 + Math.random() * 0.25), signal);
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

/** Waits for what is under way, at most for so long; it goes on then. */
export async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  await Promise.race([work, pause(ms, done.signal)]).finally(() => done.abort());
}

import { backoff } from './backoff.js';
import { MillraceError } from './errors.js';
import type { Logger } from './logger.js';

/**
 * Calls `action` until it succeeds, with pauses from 1 to 5 seconds.
 *
 * @param what - the failing operation, for the log.
 * @param signal - ends the retries: no call of `action` begins after it has aborted.
 * @throws errors of `action` that are not retriable, or whose cause is a setting; the signal's reason.
 */
export async function retryForever<T>(
  what: string,
  { logger, signal }: { logger: Logger; signal?: AbortSignal },
  action: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await action();
    } catch (error) {
      if (!isTransient(error)) throw error;
      logger.warn({ err: error }, `${what} failed; trying again`);
      await backoff(attempt, { firstMs: 1_000, maxMs: 5_000, signal });
    }
  }
}

function isTransient(error: unknown): boolean {
  return error instanceof MillraceError && error.retriable && !error.misconfigured;
}

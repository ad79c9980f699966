import pRetry from 'p-retry';
import { MillraceError } from './errors.js';
import type { Logger } from './logger.js';

/**
 * Does something as often as it fails for a reason that may pass, with pauses from 1 to 5 seconds.
 *
 * @param what - for the log: what can't be done now.
 * @throws what `action` throws, as soon as that is not retriable, or a setting has to be mended first.
 */
export function untilPossible<T>(what: string, logger: Logger, action: () => Promise<T>): Promise<T> {
  return pRetry(action, {
    retries: Number.POSITIVE_INFINITY,
    minTimeout: 1_000,
    maxTimeout: 5_000,
    shouldRetry: ({ error }) => mayPass(error),
    onFailedAttempt: ({ error }) => {
      if (mayPass(error)) logger.warn({ err: error }, `${what} failed; trying again`);
    },
  });
}

function mayPass(error: Error): boolean {
  return error instanceof MillraceError && error.retriable && !error.misconfigured;
}

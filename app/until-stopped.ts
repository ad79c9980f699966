import { atMost } from '../platform/backoff.js';
import { messageOf } from '../platform/errors.js';
import { withoutSecrets } from '../platform/secrets.js';
import type { Role } from './context.js';

/** `npm start` passes on a signal that the terminal has sent to the whole group already: two within this time are one. */
const sameSignalMs = 1_000;

/** How long a start may take to end when it is interrupted. */
const startEndMs = 2_000;

/**
 * Runs until SIGINT or SIGTERM, then stops in order and ends the process: with 0 when all that was under way is done, with 1
 * when that took too long or failed. A second signal ends it at once, with 130. The first one ends a start, with 0: within two
 * seconds, however it goes, as nothing has been taken on yet. (Without a handler the first process of a container would not
 * even end then.)
 *
 * @param start - ends when its signal aborts.
 *
 * @throws what `start` throws.
 */
export async function runUntilStopped(
  start: (signal: AbortSignal) => Promise<Role>,
  { stopTimeoutMs }: { stopTimeoutMs: number },
): Promise<never> {
  let firstAt = Number.POSITIVE_INFINITY;
  const told = new Promise<void>((resolve) => {
    const onSignal = (): void => {
      if (performance.now() - firstAt > sameSignalMs) end(130, 'Ended at once, as it was told twice.');
      firstAt = Math.min(firstAt, performance.now());
      resolve();
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
  const interrupted = new AbortController();
  const starting = start(interrupted.signal);
  const role = await Promise.race([starting, told]);
  if (role === undefined) {
    interrupted.abort();
    const ended = starting.then((started) => started.stop()).catch(() => undefined);
    await atMost(startEndMs, ended);
    return end(0, 'Stopped before it had started.');
  }
  await told;
  console.error('Stopping …');
  setTimeout(() => {
    end(
      1,
      `Not stopped after ${stopTimeoutMs / 1000} s: something that is needed does not answer. Ending as it is; what was under way is taken up at the next start.`,
    );
  }, stopTimeoutMs).unref();
  try {
    await role.stop();
  } catch (error) {
    return end(1, `Stopping failed: ${messageOf(error)}. What was under way is taken up at the next start.`);
  }
  // All is done and on disk; a connection that a library has lost track of in an outage would keep the process.
  return end(0, 'Stopped.');
}

function end(code: number, message: string): never {
  console.error(withoutSecrets(message));
  process.exit(code);
}

import { atMost } from '../platform/backoff.js';
import { messageOf } from '../platform/errors.js';
import { withoutSecrets } from '../platform/secrets.js';
import type { Role } from './context.js';

/**
 * The terminal signals the whole process group, and `npm start` forwards the signal again. Two within this
 * time count as one.
 */
const sameSignalMs = 1_000;

/** Time limit to end an interrupted start. */
const startEndMs = 2_000;

/**
 * Runs until SIGINT or SIGTERM, then stops in order and exits: with 0 when all work is done, with 1 on a
 * timeout or an error. A second signal exits at once with 130. A signal during the start exits with 0 within
 * two seconds, however often it comes: no work has been accepted yet. (Without a handler, process 1 of a
 * container would ignore the signal.)
 *
 * @param start - rejects when its signal aborts.
 *
 * @throws what `start` throws.
 */
export async function runUntilStopped(
  start: (signal: AbortSignal) => Promise<Role>,
  { stopTimeoutMs }: { stopTimeoutMs: number },
): Promise<never> {
  let firstAt = Number.POSITIVE_INFINITY;
  const interrupted = new AbortController();
  const told = new Promise<void>((resolve) => {
    const onSignal = (): void => {
      const again = performance.now() - firstAt > sameSignalMs;
      if (again && !interrupted.signal.aborted) end(130, 'Exiting at once after the second signal.');
      firstAt = Math.min(firstAt, performance.now());
      resolve();
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
  const starting = start(interrupted.signal);
  const role = await Promise.race([starting, told]);
  if (role === undefined) {
    interrupted.abort();
    const ended = starting.then((started) => started.stop()).catch(() => undefined);
    await atMost(startEndMs, ended);
    return end(0, 'Stopped during the start.');
  }
  await told;
  console.error('Stopping …');
  setTimeout(() => {
    end(
      1,
      `Not stopped after ${stopTimeoutMs / 1000} s, because an engine does not answer. Exiting; work in progress is resumed at the next start.`,
    );
  }, stopTimeoutMs).unref();
  try {
    await role.stop();
  } catch (error) {
    return end(1, `Stopping failed: ${messageOf(error)}. Work in progress is resumed at the next start.`);
  }
  // All work is done and on disk. A leaked connection of a library could keep the process alive.
  return end(0, 'Stopped.');
}

function end(code: number, message: string): never {
  console.error(withoutSecrets(message));
  process.exit(code);
}

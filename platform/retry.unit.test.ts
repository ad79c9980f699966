import { beforeEach, expect, test, vi } from 'vitest';
import { MillraceError } from './errors.js';
import { silentLogger } from './logger.js';
import { retryForever } from './retry.js';

beforeEach(() => void vi.useFakeTimers());

const logger = silentLogger;
const unavailable = new MillraceError('LOG_UNAVAILABLE', 'The log is unavailable.', { retriable: true });

test('calls again, 1 to 5 seconds later, until the call succeeds', async () => {
  const calls: number[] = [];
  const result = retryForever('Asking', { logger }, () => {
    calls.push(Date.now());
    return calls.length < 6 ? Promise.reject(unavailable) : Promise.resolve('answer');
  });
  await vi.runAllTimersAsync();
  expect(await result).toBe('answer');
  const pauses = calls.slice(1).map((at, i) => at - (calls[i] ?? 0));
  for (const [i, fullMs] of [1_000, 2_000, 4_000, 5_000, 5_000].entries()) {
    expect(pauses[i]).toBeLessThanOrEqual(fullMs);
    expect(pauses[i]).toBeGreaterThanOrEqual(0.75 * fullMs - 1);
  }
});

test.each([
  ['is not retriable', new MillraceError('LOG_REFUSED', 'The log refuses.')],
  [
    'needs another setting',
    new MillraceError('LOG_UNAVAILABLE', 'TLS.', { retriable: true, misconfigured: true }),
  ],
  ['is unknown', new TypeError('undefined is not a function')],
])('gives up on a failure that %s', async (_, failure) => {
  const action = vi.fn<() => Promise<void>>(() => Promise.reject(failure));
  await expect(retryForever('Asking', { logger }, action)).rejects.toBe(failure);
  expect(action).toHaveBeenCalledOnce();
});

test('ends when its signal aborts, without another call', async () => {
  const stopping = new AbortController();
  const action = vi.fn<() => Promise<void>>(() => Promise.reject(unavailable));
  const result = retryForever('Asking', { logger, signal: stopping.signal }, action);
  await vi.advanceTimersByTimeAsync(1);
  stopping.abort();
  await expect(result).rejects.toBe(stopping.signal.reason);
  expect(action).toHaveBeenCalledOnce();
  expect(vi.getTimerCount()).toBe(0);
});

import { beforeEach, expect, test, vi } from 'vitest';
import { atMost, backoff, backoffMs, Condition, pause } from './backoff.js';

beforeEach(() => void vi.useFakeTimers());

test('delays double from the first to the longest', () => {
  const limits = { firstMs: 100, maxMs: 1_000 };
  const delays = [0, 1, 2, 3, 4, 5_000].map((attempt) => backoffMs(attempt, limits));
  expect(delays).toEqual([100, 200, 400, 800, 1_000, 1_000]);
});

test('a wait is up to a quarter shorter than its delay', async () => {
  for (const random of [0, 0.999]) {
    vi.spyOn(Math, 'random').mockReturnValueOnce(random);
    const begin = Date.now();
    const waiting = backoff(1, { firstMs: 1_000 });
    await vi.runAllTimersAsync();
    await waiting;
    expect(Date.now() - begin).toBe(Math.floor(2_000 * (0.75 + random * 0.25)));
  }
});

test('a wait ends early, and leaves no timer, when its signal aborts', async () => {
  const stopping = new AbortController();
  const waits = [pause(60_000, stopping.signal), backoff(3, { signal: stopping.signal })];
  stopping.abort();
  await Promise.all([...waits, pause(60_000, stopping.signal)]);
  expect(vi.getTimerCount()).toBe(0);
});

test('a wait for work ends after the time limit', async () => {
  const waiting = atMost(1_000, new Promise(() => undefined));
  await vi.advanceTimersByTimeAsync(1_000);
  await waiting;
  await atMost(1_000, Promise.resolve());
  expect(vi.getTimerCount()).toBe(0);
});

test('a change ends all current waits, and no later ones', async () => {
  const changed = new Condition();
  const waits = [changed.wait(60_000), changed.wait(60_000, new AbortController().signal)];
  changed.notify();
  await Promise.all(waits);
  expect(vi.getTimerCount()).toBe(0);
  const stopping = new AbortController();
  const later = changed.wait(60_000, stopping.signal);
  expect(vi.getTimerCount()).toBe(1);
  stopping.abort();
  await later;
  expect(vi.getTimerCount()).toBe(0);
});

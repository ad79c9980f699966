import { afterEach, expect, it, vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { type LoadSheddingOptions, startLoadShedding } from './load-shedding.js';
import { RateLimits } from './rate-limits.js';

let stop: () => void = () => undefined;
afterEach(() => stop());

function watch(options: Partial<LoadSheddingOptions>): RateLimits {
  const limits = new RateLimits({ perSecond: 1_000, metrics: createMetrics() });
  const lag = (): Promise<number> => Promise.resolve(0);
  ({ stop } = startLoadShedding({
    limits,
    logger: silentLogger,
    loopDelayMs: 200,
    lagRecords: 100,
    lag,
    lookEveryMs: 100,
    lagEveryMs: 10,
    ...options,
  }));
  return limits;
}

it('tightens while the event loop is delayed, and relaxes after', async () => {
  const limits = watch({});
  const tighten = vi.spyOn(limits, 'tighten');
  const until = performance.now() + 900;
  const holdUp = (): void => {
    const end = performance.now() + 300;
    while (performance.now() < end);
    if (performance.now() < until) setImmediate(holdUp);
  };
  holdUp();
  await expect.poll(() => tighten.mock.calls.length).toBeGreaterThan(0);
  await expect.poll(() => limits.limit).toBe(1_000);
});

it('tightens while the number of unscored events grows, not while it shrinks', async () => {
  let waiting = 90;
  let step = 0;
  const limits = watch({ lag: () => Promise.resolve((waiting += step)), loopDelayMs: 60_000 });
  step = 20;
  await expect.poll(() => limits.limit).toBeLessThan(500);
  step = -1;
  const tight = limits.limit;
  await expect.poll(() => waiting).toBeLessThan(waiting - 5);
  expect(limits.limit).toBeLessThanOrEqual(tight);
  waiting = 10;
  step = 0;
  await expect.poll(() => limits.limit).toBe(1_000);
});

it('leaves the limits unchanged when the log does not report the lag', async () => {
  let asked = 0;
  const limits = watch({
    lag: async () => {
      asked++;
      throw new Error('down');
    },
    loopDelayMs: 60_000,
  });
  await expect.poll(() => asked).toBeGreaterThan(30);
  expect(limits.limit).toBe(1_000);
});

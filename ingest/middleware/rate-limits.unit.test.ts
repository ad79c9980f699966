import { beforeEach, expect, it, vi } from 'vitest';
import { createMetrics } from '../../platform/metrics.js';
import { RateLimited, RateLimits } from './rate-limits.js';

beforeEach(() => {
  vi.useFakeTimers();
});

function create(perSecond: number) {
  const metrics = createMetrics();
  return { limits: new RateLimits({ perSecond, metrics }), metrics };
}

it('allows a client the configured limit each second, and reports the remaining quota', async () => {
  const { limits, metrics } = create(2);
  expect(await limits.take('address:a')).toEqual({ remaining: 1, resetSeconds: 1 });
  expect(await limits.take('address:a')).toEqual({ remaining: 0, resetSeconds: 1 });
  await expect(limits.take('address:a')).rejects.toMatchObject({
    code: 'RATE_LIMITED',
    retryAfterSeconds: 1,
  });
  expect(await limits.take('address:b')).toMatchObject({ remaining: 1 });
  const { values } = await metrics.rateLimited.get();
  expect(values).toMatchObject([{ labels: { by: 'address' }, value: 1 }]);
  vi.advanceTimersByTime(1_000);
  expect(await limits.take('address:a')).toMatchObject({ remaining: 1 });
});

it('accepts a list over the limit, and nothing more until its debt is paid off', async () => {
  const { limits } = create(10);
  await limits.take('a', 5);
  expect(await limits.take('a', 25)).toEqual({ remaining: 0, resetSeconds: 3 });
  vi.advanceTimersByTime(2_900);
  await expect(limits.take('a')).rejects.toThrow(RateLimited);
  vi.advanceTimersByTime(200);
  expect(await limits.take('a')).toMatchObject({ remaining: 9 });
});

it('does not count refused requests', async () => {
  const { limits } = create(1);
  await limits.take('a');
  for (let tries = 0; tries < 50; tries++) await expect(limits.take('a')).rejects.toThrow(RateLimited);
  vi.advanceTimersByTime(1_001);
  await limits.take('a');
});

it('tightens by halves down to 1/128, and relaxes to the configured limit', async () => {
  const { limits, metrics } = create(1_000);
  limits.tighten();
  expect(limits.limit).toBe(500);
  expect(await limits.take('a', 400)).toMatchObject({ remaining: 100 });
  for (let times = 0; times < 20; times++) limits.tighten();
  expect(limits.limit).toBe(7);
  expect((await metrics.rateLimit.get()).values[0]?.value).toBe(7);
  await expect(limits.take('a')).rejects.toThrow('1000 as soon as the system is less busy');
  for (let times = 0; times < 20; times++) limits.relax();
  expect(limits.limit).toBe(1_000);
});

it('keeps nothing of a client whose second is over', async () => {
  const { limits } = create(10);
  for (let address = 0; address < 500; address++) await limits.take(`address:${address}`);
  expect(vi.getTimerCount()).toBe(500);
  vi.advanceTimersByTime(1_001);
  expect(vi.getTimerCount()).toBe(0);
});

it('allows no more requests of a burst than of a sequence', async () => {
  const { limits } = create(10);
  const burst = await Promise.allSettled(Array.from({ length: 50 }, () => limits.take('a')));
  expect(burst.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
  const lists = await Promise.allSettled(Array.from({ length: 5 }, () => limits.take('b', 60)));
  expect(lists.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
});

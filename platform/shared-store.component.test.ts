import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { PredictionRow } from '../analytics/rows.js';
import { silentLogger } from './logger.js';
import { createMetrics } from './metrics.js';
import { AcceptedEvents } from '../processors/events/idempotency.js';
import type { OpenPipeline } from '../processors/pipelines/open-pipelines.js';
import { PredictionCache } from '../processors/events/prediction-cache.js';
import { RateLimited, RateLimits } from '../ingest/middleware/rate-limits.js';
import { SharedStore } from './shared-store.js';
import { describeWithRedis, RedisServer } from './testing/redis-server.js';

const row = {
  event_id: 'e',
  pipeline: 'p',
  score: 0.5,
  features: '{}',
  outputs: '{}',
  predicted_at: '2026-01-01T00:00:00.000Z',
} as PredictionRow;

describeWithRedis('shared through Redis', () => {
  let redis: RedisServer;
  let url: string;
  let copies: [SharedStore, SharedStore];
  const opened: { close(): Promise<void> }[] = [];

  /** Its commands have plenty of time: a busy machine must not count as a hanging Redis. */
  function open(at: string, timeoutMs = 10_000): SharedStore {
    const settings = { metrics: createMetrics(), logger: silentLogger, retryMs: 50 };
    const store = new SharedStore({ url: at, timeoutMs, ...settings });
    opened.push(store);
    return store;
  }

  async function connect(...options: Parameters<typeof open>): Promise<SharedStore> {
    const store = open(...options);
    await expect.poll(() => isUp(store)).toBe(true);
    return store;
  }

  function isUp(store: SharedStore): boolean {
    try {
      store.check();
      return true;
    } catch {
      return false;
    }
  }

  beforeEach(async () => {
    redis = await RedisServer.start('--requirepass', 'a secret');
    url = redis.url.replace('//', '//:a%20secret@');
    copies = [await connect(url), await connect(`${url}/0`)];
  });

  afterEach(async () => {
    await redis.goOn();
    for (const store of opened.splice(0)) await store.close();
    await redis.remove();
  });

  it('finds the predictions of another copy, without asking the database', async () => {
    let asked = 0;
    const findStored = (): Promise<PredictionRow[]> => (asked++, Promise.resolve([]));
    const [one, other] = copies.map((shared) => new PredictionCache(findStored, { shared }));
    one?.remember(row);
    await expect.poll(() => other?.recallAnywhere(['q', 'p'], 'e')).toEqual([row]);
    expect(await other?.find('p', ['e'])).toEqual(new Map([['e', row]]));
    expect(asked).toBe(0);
    expect(other?.recall('p', 'e')).toEqual(row);
    expect(await other?.find('p', ['e', 'f'])).toEqual(new Map([['e', row]]));
    expect(asked).toBe(1);
    one?.remember({ ...row, score: 0.7 });
    one?.remember({ ...row, event_id: 'later' });
    await expect.poll(async () => (await copies[1].read(['prediction:p:later']))[0]).toBeDefined();
    expect((await copies[1].read(['prediction:p:e']))[0]).toBe(JSON.stringify(row));
    const ttl = await copies[0].client.ttl('millrace:prediction:p:e');
    expect(ttl).toBeGreaterThan(290);
    expect(ttl).toBeLessThanOrEqual(300);
  });

  it('knows which events another copy accepted', async () => {
    const [one, other] = copies.map((shared) => new AcceptedEvents(shared, undefined));
    const pipeline = { name: 'p' } as OpenPipeline;
    const events = Array.from({ length: 2_500 }, (_, event) => ({
      eventId: String(event),
      fields: {},
      digest: `digest ${event}`,
    }));
    for (const event of events) one?.add(pipeline, event);
    await expect
      .poll(async () => {
        await other?.learn(pipeline, events);
        return events.every(
          (event) =>
            other?.conflictOf(pipeline, event, new Map()) === undefined &&
            other?.conflictOf(pipeline, { ...event, digest: 'another' }, new Map()) !== undefined,
        );
      })
      .toBe(true);
    expect(await copies[0].client.ttl('millrace:accepted:p\n7')).toBeGreaterThan(3_500);
  });

  it('adds up what a client asks of all copies, and its debt', async () => {
    const limits = copies.map(
      (shared) => new RateLimits({ perSecond: 100, metrics: createMetrics(), shared }),
    );
    const [one, other] = limits;
    await one?.take('a', 10_000);
    // 9,900 too many at 100 a second: 99 seconds after the one of the request.
    await expect
      .poll(async () => {
        try {
          await other?.take('a');
          return 0;
        } catch (error) {
          return (error as RateLimited).retryAfterSeconds;
        }
      })
      .toBeGreaterThanOrEqual(90);
    const left = await copies[0].client.pttl('millrace:rate:a');
    expect(left).toBeGreaterThan(80_000);
    expect(left).toBeLessThanOrEqual(100_200);
    for (const each of limits) each.stop();
  });

  it('counts from the first time, in one round trip with other commands', async () => {
    const [shared] = copies;
    vi.useFakeTimers({ toFake: ['setInterval'] });
    const limits = new RateLimits({ perSecond: 1, metrics: createMetrics(), shared });
    await limits.take('b');
    void shared.read(['anything']);
    vi.advanceTimersByTime(100);
    vi.useRealTimers();
    await expect.poll(() => shared.client.get('millrace:rate:b')).toBe('1');
    limits.stop();
    expect(isUp(shared)).toBe(true);
  });

  it('delays no request while Redis hangs, and recovers by itself', async () => {
    const store = await connect(url, 250);
    await expect
      .poll(() => {
        store.write({ key: 'k', value: 'v', ttlSeconds: 60 });
        return store.read(['k']);
      })
      .toEqual(['v']);
    await redis.hang();
    const startedAt = performance.now();
    expect(await store.read(['k'])).toEqual([undefined]);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(() => store.check()).toThrow('Redis does not work now');
    for (let reads = 0; reads < 100; reads++)
      expect(await Promise.race([store.read(['k']), nextTurn('held up')])).toEqual([undefined]);
    await redis.goOn();
    await expect.poll(() => store.read(['k'])).toEqual(['v']);
  });

  it('works without a dead Redis, limits included, and uses the next one', async () => {
    const [store] = copies;
    const limits = new RateLimits({ perSecond: 2, metrics: createMetrics(), shared: store });
    await redis.kill();
    await expect.poll(() => isUp(store)).toBe(false);
    expect(() => store.check()).toThrow(/ECONN|closed/);
    await limits.take('a', 20);
    await expect(limits.take('a')).rejects.toThrow(RateLimited);
    limits.stop();
    await redis.begin();
    await expect.poll(() => isUp(store)).toBe(true);
  });

  it('does not use a Redis that accepts no writes', async () => {
    const [store] = copies;
    await store.client.config('SET', 'maxmemory', '1');
    store.write({ key: 'k', value: 'v', ttlSeconds: 60 });
    await expect.poll(() => isUp(store)).toBe(false);
    await expect.poll(() => messageOf(store)).toContain('OOM');
    await store.client.config('SET', 'maxmemory', '0');
    await expect.poll(() => isUp(store)).toBe(true);
  });

  it('reports a wrong password, without the password', async () => {
    const store = open(redis.url.replace('//', '//:guessed@'));
    await expect.poll(() => messageOf(store)).toMatch(/WRONGPASS/);
    expect(messageOf(store)).not.toContain('guessed');
  });

  function messageOf(store: SharedStore): string {
    try {
      store.check();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  }
});

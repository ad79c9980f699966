import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { MillraceError } from '../../platform/errors.js';
import type { Metrics } from '../../platform/metrics.js';
import { Mutex } from '../../platform/mutex.js';
import { SharedStore } from '../../platform/shared-store.js';

/** A client has asked for more than it may. Code `RATE_LIMITED`, retriable. */
export class RateLimited extends MillraceError {
  /** When to try again. */
  readonly retryAfterSeconds: number;

  constructor(message: string, retryAfterSeconds: number) {
    super('RATE_LIMITED', message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** What a client may still ask for. */
export interface Quota {
  remaining: number;
  /** Seconds until it is whole again. */
  resetSeconds: number;
}

export interface RateLimitsOptions {
  /** What a client may ask for a second. */
  perSecond: number;
  metrics: Metrics;
  /** Where copies of the HTTP API add up what a client asks of each. None: each copy limits on its own. */
  shared?: SharedStore | undefined;
}

/** How often copies sync each other what their clients took, milliseconds: so long a client may take its share of each. */
const shareEveryMs = 100;
/** The tightest limit is so much of the one that is set. */
const tightest = 1 / 128;

/**
 * Counts what each client asks for in windows of a second. A request counts one, a list as many as it has events; what a
 * list takes beyond the limit is a debt, and keeps its client out until it is paid off. What is refused costs nothing.
 *
 * Decided in memory, without a round trip. Copies that share a Redis add their counts up there, a little later: their
 * clients get ahead by what they can ask of all copies in 100 ms. A Redis that is out leaves each copy its own counts.
 */
export class RateLimits {
  /** As it is set, whatever the pressure. */
  readonly perSecond: number;
  readonly #metrics: Metrics;
  readonly #here: RateLimiterMemory;
  /** By limit. */
  readonly #everywhere = new Map<number, RateLimiterRedis>();
  readonly #shared: SharedStore | undefined;
  readonly #sharing: NodeJS.Timeout | undefined;
  /** What clients took here and the other copies have not been synced. */
  #pending = new Map<string, { count: number; limit: number }>();
  #syncing = false;
  #limit: number;
  /** One decision at a time: all of a burst would look before the first of them is counted. */
  readonly #decisions = new Mutex();

  constructor({ perSecond, metrics, shared }: RateLimitsOptions) {
    this.perSecond = perSecond;
    this.#limit = perSecond;
    this.#metrics = metrics;
    metrics.rateLimit.set(perSecond);
    this.#here = new RateLimiterMemory({ points: perSecond, duration: 1 });
    if (shared === undefined) return;
    this.#shared = shared;
    // It defines its command as it is made: a pipeline that was begun before has none such, and would end the process.
    this.#counterOf(perSecond);
    this.#sharing = setInterval(() => void this.#sync(), shareEveryMs).unref();
  }

  /** What a client may ask for a second now. */
  get limit(): number {
    return this.#limit;
  }

  /** Halves the limit, down to 1/128 of what is set. */
  tighten(): void {
    this.#setLimit(Math.max(this.#limit / 2, this.perSecond * tightest));
  }

  /** Doubles the limit, up to what is set. */
  relax(): void {
    this.#setLimit(Math.min(this.#limit * 2, this.perSecond));
  }

  /**
   * Lets a client have `count` requests or events if it has anything left, even if not so many.
   *
   * @param perSecond - what this client may ask for; it tightens as the limit of all does. Default: that limit.
   * @throws RateLimited
   */
  take(client: string, count = 1, perSecond = this.perSecond): Promise<Quota> {
    return this.#decisions.run(() => this.#take(client, count, perSecond));
  }

  stop(): void {
    clearInterval(this.#sharing);
  }

  async #take(client: string, count: number, perSecond: number): Promise<Quota> {
    const limit = Math.max(1, Math.floor((perSecond * this.#limit) / this.perSecond));
    const before = await this.#here.get(client);
    if (before !== null && before.msBeforeNext > 0 && before.consumedPoints >= limit)
      throw this.#refuse(client, before.msBeforeNext, limit, perSecond);
    const { consumedPoints, msBeforeNext } = await this.#here.penalty(client, count);
    const debt = Math.min(count, consumedPoints - limit);
    const resetMs = msBeforeNext + (debt > 0 ? (debt / limit) * 1000 : 0);
    if (debt > 0) await this.#here.set(client, consumedPoints, resetMs / 1000);
    if (this.#shared !== undefined)
      this.#pending.set(client, { count: (this.#pending.get(client)?.count ?? 0) + count, limit });
    return {
      remaining: Math.max(0, Math.floor(limit - consumedPoints)),
      resetSeconds: Math.ceil(resetMs / 1000),
    };
  }

  #setLimit(limit: number): void {
    this.#limit = Math.max(1, Math.floor(limit));
    this.#metrics.rateLimit.set(this.#limit);
    this.#here.points = this.#limit;
  }

  #refuse(client: string, waitMs: number, limit: number, perSecond: number): RateLimited {
    this.#metrics.rateLimited.inc({ by: client.startsWith('key:') ? 'key' : 'address' });
    const seconds = Math.max(1, Math.ceil(waitMs / 1000));
    const tight = limit < perSecond ? ` (${perSecond} as soon as the system is less busy)` : '';
    const problem = `You may ask for ${limit} requests or events a second${tight}. Try again in ${seconds} s.`;
    return new RateLimited(problem, seconds);
  }

  async #sync(): Promise<void> {
    if (this.#syncing || this.#pending.size === 0) return;
    this.#syncing = true;
    const synced = this.#pending;
    this.#pending = new Map();
    // When this fails, what was not synced is counted here at least.
    await this.#shared?.attempt(() =>
      Promise.all([...synced].map(([client, { count, limit }]) => this.#syncClient(client, count, limit))),
    );
    this.#syncing = false;
  }

  /** The library's counter has its limit built in. */
  #counterOf(limit: number): RateLimiterRedis | undefined {
    const known = this.#everywhere.get(limit);
    if (known !== undefined || this.#shared === undefined) return known;
    const counter = new RateLimiterRedis({
      storeClient: this.#shared.client,
      points: limit,
      duration: 1,
      keyPrefix: `${SharedStore.prefix}rate`,
      customIncrTtlLuaScript: countWithDebt,
    });
    this.#everywhere.set(limit, counter);
    return counter;
  }

  async #syncClient(client: string, count: number, limit: number): Promise<void> {
    const total = await this.#counterOf(limit)?.penalty(client, count);
    if (total === undefined || total.msBeforeNext <= 0) return;
    const since = this.#pending.get(client)?.count ?? 0;
    await this.#here.set(client, total.consumedPoints + since, total.msBeforeNext / 1000);
  }
}

/**
 * The library's counter, with the debt of {@link RateLimits}: what an addition takes beyond the limit prolongs the window by
 * the time that it is worth. Key: the client's counter. Arguments: count, window in seconds, limit. Answers the counter
 * and its milliseconds to live, as the library expects.
 */
const countWithDebt = `
local added, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
local total = redis.call('incrby', KEYS[1], ARGV[1])
local left = redis.call('pttl', KEYS[1])
local debt = math.min(added, total - limit)
local due = left
if due < 0 then due = window end
if debt > 0 then due = due + math.ceil(debt / limit * 1000) end
if due ~= left then redis.call('pexpire', KEYS[1], due) end
return {total, due}
`;

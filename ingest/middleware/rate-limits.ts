import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { MillraceError } from '../../platform/errors.js';
import type { Metrics } from '../../platform/metrics.js';
import { Mutex } from '../../platform/mutex.js';
import { SharedStore } from '../../platform/shared-store.js';

/** A client is over its limit. Code `RATE_LIMITED`, retriable. */
export class RateLimited extends MillraceError {
  /** When to retry. */
  readonly retryAfterSeconds: number;

  constructor(message: string, retryAfterSeconds: number) {
    super('RATE_LIMITED', message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Remaining quota of a client. */
export interface Quota {
  remaining: number;
  /** Seconds until it is fully restored. */
  resetSeconds: number;
}

export interface RateLimitsOptions {
  /** Limit of a client per second. */
  perSecond: number;
  metrics: Metrics;
  /** Where copies of the HTTP API add up the requests of a client. Unset: each copy limits on its own. */
  shared?: SharedStore | undefined;
}

/** Interval of the copies' synchronisation, milliseconds: meanwhile a client may use its quota of each. */
const shareEveryMs = 100;
/** Ratio of the tightest limit to the configured one. */
const tightest = 1 / 128;

/**
 * Counts the requests of each client in windows of a second. A request counts one, a list as many as it has
 * events. A list over the limit causes a debt, and its client is refused until it is paid off. Refused
 * requests cost nothing.
 *
 * Decides in memory, without a round trip. Copies that share a Redis add their counts up there, a little
 * later, so a client can exceed its limit by its requests to all copies in 100 ms. While Redis is unavailable
 * each copy has its own counts.
 */
export class RateLimits {
  /** The configured limit, whatever the pressure. */
  readonly perSecond: number;
  readonly #metrics: Metrics;
  readonly #here: RateLimiterMemory;
  /** By limit. */
  readonly #everywhere = new Map<number, RateLimiterRedis>();
  readonly #shared: SharedStore | undefined;
  readonly #sharing: NodeJS.Timeout | undefined;
  /** Local counts that are not synchronised with the other copies yet. */
  #pending = new Map<string, { count: number; limit: number }>();
  #syncing = false;
  #limit: number;
  /** One decision at a time: otherwise a whole burst would be checked before its first request is counted. */
  readonly #decisions = new Mutex();

  constructor({ perSecond, metrics, shared }: RateLimitsOptions) {
    this.perSecond = perSecond;
    this.#limit = perSecond;
    this.#metrics = metrics;
    metrics.rateLimit.set(perSecond);
    this.#here = new RateLimiterMemory({ points: perSecond, duration: 1 });
    if (shared === undefined) return;
    this.#shared = shared;
    // It defines its command when it is created: an older pipeline lacks the command, and would end the
    // process.
    this.#counterOf(perSecond);
    this.#sharing = setInterval(() => void this.#sync(), shareEveryMs).unref();
  }

  /** The current limit of a client per second. */
  get limit(): number {
    return this.#limit;
  }

  /** Halves the limit, down to 1/128 of the configured one. */
  tighten(): void {
    this.#setLimit(Math.max(this.#limit / 2, this.perSecond * tightest));
  }

  /** Doubles the limit, up to the configured one. */
  relax(): void {
    this.#setLimit(Math.min(this.#limit * 2, this.perSecond));
  }

  /**
   * Counts `count` requests or events of a client if it has any quota left, even if not enough.
   *
   * @param perSecond - limit of this client; it tightens like the common limit. Default: the common limit.
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
    // When this fails, at least the local counts apply.
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
 * The library's counter, with the debt of {@link RateLimits}: an addition over the limit prolongs the window
 * by its excess. Key: the client's counter. Arguments: count, window in seconds, limit. Returns the counter
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

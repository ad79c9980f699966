import type { ConnectionOptions } from 'node:tls';
import { Redis } from 'ioredis';
import { MillraceError, messageOf } from './errors.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import { tlsAdvice } from './tls-problems.js';

export interface SharedStoreOptions {
  /** `redis://` or `rediss://`, as ioredis parses it: user, password, database number. */
  url: string;
  /** For `rediss:`, such as a private authority. Default: Node's. */
  tls?: ConnectionOptions;
  metrics: Metrics;
  logger: Logger;
  /** Time limit of an answer, milliseconds. Default 250. */
  timeoutMs?: number;
  /** Interval of the attempts after a failure of Redis, milliseconds. Default 500. */
  retryMs?: number;
}

/** A value to be kept for some seconds. */
export interface SharedValue {
  key: string;
  value: string;
  ttlSeconds: number;
}

/** Maximum number of values waiting to be written; further ones are not shared. */
const maxWaiting = 20_000;
/** Values of one round trip: more would delay other commands. */
const valuesAtOnce = 1_000;

/** One command for many values: a command each costs this process and Redis several times as much. */
const keepFirst = `
for i, key in ipairs(KEYS) do
  redis.call('set', key, ARGV[2 * i - 1], 'EX', ARGV[2 * i], 'NX')
end`;

/**
 * Data that copies of the HTTP API share through Redis. Everything here can be lost at any moment: no code
 * may rely on a value. After a failure or a timeout Redis is not used until it accepts a write again, so it
 * delays only the requests of one moment, by `timeoutMs`.
 */
export class SharedStore {
  readonly #redis: Redis;
  readonly #options: Required<Omit<SharedStoreOptions, 'tls'>>;
  /** Why it is not used now. */
  #failure: MillraceError | undefined = unavailable('not connected yet');
  #probe: NodeJS.Timeout | undefined;
  #waiting: SharedValue[] = [];
  #writing = false;
  #closed = false;

  constructor(options: SharedStoreOptions) {
    this.#options = { timeoutMs: 250, retryMs: 500, ...options };
    const { url, timeoutMs, retryMs } = this.#options;
    this.#redis = new Redis(url, {
      ...(options.tls !== undefined && url.startsWith('rediss:') ? { tls: options.tls } : {}),
      connectionName: 'millrace',
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: timeoutMs,
      connectTimeout: 2_000,
      enableAutoPipelining: true,
      retryStrategy: () => retryMs,
      // Otherwise a connection that broke silently would be used until the system gives it up, which takes
      // minutes.
      socketTimeout: 10_000,
    });
    this.#redis.on('error', (error: Error) => this.#fail(error));
    this.#redis.on('close', () => {
      if (this.#failure === undefined) this.#fail(new Error('it closed the connection'));
    });
    this.#redis.once('ready', () => void this.#tryAgain());
  }

  /** Prefix of every key. */
  static readonly prefix = 'millrace:';

  /** For the library of the rate limits; everything else uses {@link attempt}. */
  get client(): Redis {
    return this.#redis;
  }

  /** Runs commands. Returns `undefined` when they fail, and at once while Redis is unavailable. */
  async attempt<T>(work: (redis: Redis) => Promise<T>): Promise<T | undefined> {
    if (this.#failure !== undefined) return undefined;
    try {
      return await work(this.#redis);
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /**
   * Returns the values under some keys, in their order, in one round trip; none if missing, or while Redis is
   * unavailable.
   */
  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    const values: (string | undefined)[] = [];
    for (let from = 0; from < keys.length; from += valuesAtOnce) {
      const some = keys.slice(from, from + valuesAtOnce);
      const read = await this.attempt((redis) => redis.mget(...some.map((key) => SharedStore.prefix + key)));
      values.push(...some.map((_key, index) => read?.[index] ?? undefined));
    }
    return values;
  }

  /**
   * Queues a value to be written soon, with others in one round trip, unless its key has one: the first
   * stays. Dropped while Redis is unavailable.
   */
  write(value: SharedValue): void {
    if (this.#failure !== undefined || this.#waiting.length >= maxWaiting) return;
    this.#waiting.push(value);
    if (this.#writing) return;
    this.#writing = true;
    setImmediate(() => void this.#writeAll());
  }

  /** @throws MillraceError `REDIS_UNAVAILABLE` with the last failure, while Redis is unavailable. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#probe);
    if (this.#failure === undefined) await this.#redis.quit().catch(() => undefined);
    this.#redis.disconnect();
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const values = this.#waiting.splice(0, valuesAtOnce);
      await this.attempt((redis) =>
        redis.eval(
          keepFirst,
          values.length,
          ...values.map(({ key }) => SharedStore.prefix + key),
          ...values.flatMap(({ value, ttlSeconds }) => [value, ttlSeconds]),
        ),
      );
    }
    this.#writing = false;
  }

  #fail(cause: unknown): void {
    if (this.#closed) return;
    const before = this.#failure;
    this.#failure = unavailable(cause);
    if (before?.message !== this.#failure.message) this.#options.logger.warn(this.#failure.message);
    if (before !== undefined) return;
    this.#waiting = [];
    this.#options.metrics.redisFailures.inc();
    this.#probeIn(this.#options.retryMs);
  }

  #probeIn(delayMs: number): void {
    this.#probe = setTimeout(() => void this.#tryAgain(), delayMs).unref();
  }

  /** Checks with a write, because a full Redis, or a replica, answers reads and refuses writes. */
  async #tryAgain(): Promise<void> {
    try {
      if (this.#redis.status === 'ready') {
        // Two keys: in a cluster they are on different nodes, which no multi-key command can span.
        const probes = ['probe', 'probe-2'].map((key) => SharedStore.prefix + key);
        await this.#redis.eval(keepFirst, probes.length, ...probes, '1', 10, '1', 10);
        this.#failure = undefined;
        this.#options.logger.info('Redis works');
        return;
      }
    } catch (error) {
      this.#failure = unavailable(error);
    }
    if (!this.#closed) this.#probeIn(this.#options.retryMs);
  }
}

/** Errors of a connection name host and port at most, never the URL, which may contain a password. */
function unavailable(cause: unknown): MillraceError {
  const reason = messageOf(cause).replace(/\.+$/, '');
  const advice = /^(?:MOVED|ASK|CROSSSLOT|CLUSTERDOWN)\b|cross.?slot/i.test(reason)
    ? ' Redis Cluster is not supported: REDIS_URL has to name a Redis of its own, with or without replicas.'
    : /\b(?:WRONGPASS|NOAUTH|NOPERM)\b|without any password/.test(reason)
      ? ' Check user and password in REDIS_URL.'
      : ` ${tlsAdvice(cause, 'REDIS') ?? ''}`.trimEnd();
  const problem = `Redis does not work now: ${reason}.${advice} Each copy goes on with what it knows itself.`;
  return new MillraceError('REDIS_UNAVAILABLE', problem, { cause });
}

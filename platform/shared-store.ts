import type { ConnectionOptions } from 'node:tls';
import { Redis } from 'ioredis';
import { MillraceError, messageOf } from './errors.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import { tlsAdvice } from './tls-problems.js';

export interface SharedStoreOptions {
  /** `redis://` or `rediss://`, as ioredis reads it: user, password, database number. */
  url: string;
  /** For `rediss:`, such as an authority of one's own. Default: Node's. */
  tls?: ConnectionOptions;
  metrics: Metrics;
  logger: Logger;
  /** Longest wait for an answer, milliseconds. Default 250. */
  timeoutMs?: number;
  /** How often a Redis that failed is tried again, milliseconds. Default 500. */
  retryMs?: number;
}

/** Something to be remembered for some seconds. */
export interface SharedValue {
  key: string;
  value: string;
  ttlSeconds: number;
}

/** Values that wait to be written at most; what comes beyond is not shared. */
const maxWaiting = 20_000;
/** Values of one round trip: more would keep other commands waiting. */
const valuesAtOnce = 1_000;

/** One command for many values: a command each costs this process and Redis several times as much. */
const keepFirst = `
for i, key in ipairs(KEYS) do
  redis.call('set', key, ARGV[2 * i - 1], 'EX', ARGV[2 * i], 'NX')
end`;

/**
 * What copies of the HTTP API share through Redis. Everything here can be lost at any moment: nobody may rely on a value
 * being there. A Redis that fails or hangs is left alone from the first failure until it takes a write again, so it holds
 * up the requests of one moment, for `timeoutMs`, and no others.
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
      // Else a connection that died without a word would be trusted until the system gives it up, which takes minutes.
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

  /** What the library of the rate limits needs; for everything else there is {@link attempt}. */
  get client(): Redis {
    return this.#redis;
  }

  /** Runs commands. `undefined` when they fail, and at once while Redis is out. */
  async attempt<T>(work: (redis: Redis) => Promise<T>): Promise<T | undefined> {
    if (this.#failure !== undefined) return undefined;
    try {
      return await work(this.#redis);
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /** The values under some keys, in their order, many in one round trip; none where there is none, or Redis is out. */
  async read(keys: readonly string[]): Promise<(string | undefined)[]> {
    const values: (string | undefined)[] = [];
    for (let from = 0; from < keys.length; from += valuesAtOnce) {
      const some = keys.slice(from, from + valuesAtOnce);
      const read = await this.attempt((redis) => redis.mget(...some.map((key) => SharedStore.prefix + key)));
      values.push(...some.map((_key, index) => read?.[index] ?? undefined));
    }
    return values;
  }

  /** Has a value written soon, with others in one round trip, unless its key has one: the first stays. Dropped while Redis is out. */
  write(value: SharedValue): void {
    if (this.#failure !== undefined || this.#waiting.length >= maxWaiting) return;
    this.#waiting.push(value);
    if (this.#writing) return;
    this.#writing = true;
    setImmediate(() => void this.#writeAll());
  }

  /** @throws MillraceError `REDIS_UNAVAILABLE` with the last failure, while Redis is out. */
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

  /** With a write, because a Redis that is full, or a replica, answers reads and refuses those. */
  async #tryAgain(): Promise<void> {
    try {
      if (this.#redis.status === 'ready') {
        // Two keys: in a cluster they are at different nodes, which no command of many keys gets over.
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

/** Errors of a connection name host and port at most, never the URL, which may hold a password. */
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

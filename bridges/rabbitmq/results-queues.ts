import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import type { ResultsQueue } from '../../platform/rabbitmq-settings.js';
import { backoff } from '../../platform/backoff.js';
import type { BridgeStatus, RabbitConnection } from './connection.js';
import { codeOf, isOwnFault } from './errors.js';
import type { OutgoingMessage, Publisher } from './publisher.js';
import { matchesPattern } from './topic-pattern.js';
import { ensurePredictions, ensureResultsQueue, predictionsExchange } from './topology.js';

export interface ResultsQueuesOptions {
  queues: readonly ResultsQueue[];
  connection: RabbitConnection;
  publisher: Publisher;
  /** Maximum number of retries of a result that a queue rejects. */
  retryLimit: number;
  /** Delay before the first retry, milliseconds; it doubles each time, up to a minute. */
  retryDelayMs: number;
  /** Interval of the checks of the queues. Default: 5,000 ms. */
  watchMs?: number;
  metrics: Metrics;
  logger: Logger;
}

/** Maximum number of results waiting for a retry at one queue; beyond it the oldest are given up. */
const maxWaiting = 10_000;

/** This number of unread results makes a queue degraded. */
const manyUnread = 10_000;

const maxDelayMs = 60_000;

/**
 * The queues that settings bind to the exchange of predictions. RabbitMQ reports that some queue rejected a
 * message, not which one. So the message is offered to each queue separately; a queue that accepted it before
 * gets it twice. A rejected message waits for its own queue only.
 */
export class ResultsQueues {
  readonly #options: ResultsQueuesOptions;
  readonly #queues: ReadonlyMap<string, Queue>;
  readonly #stopping = new AbortController();
  readonly #watching: Promise<void>;
  #stranger: BridgeStatus = { ok: true, since: Date.now() };

  constructor(options: ResultsQueuesOptions) {
    this.#options = options;
    const patterns = new Map<string, string[]>();
    for (const { queue, pattern } of options.queues)
      patterns.set(queue, [...(patterns.get(queue) ?? []), pattern]);
    this.#queues = new Map(
      [...patterns].map(([name, each]) => [name, new Queue(name, each, options, this.#stopping.signal)]),
    );
    this.#watching = this.#watch();
  }

  /** State of each queue, and of the exchange for queues that settings do not name. */
  get parts(): ReadonlyMap<string, () => BridgeStatus> {
    const parts = [...this.#queues].map(
      ([name, queue]) => [`rabbitmq results queue ${name}`, () => queue.status()] as const,
    );
    return new Map([...parts, [`rabbitmq exchange ${predictionsExchange}`, () => this.#stranger]]);
  }

  get names(): string[] {
    return [...this.#queues.keys()];
  }

  /**
   * Ensures that exchange and queues exist and are bound. A queue that can't be used reports that, and does
   * not block the others.
   *
   * @throws MillraceError, retriable, when RabbitMQ or the exchange is unavailable.
   */
  async ensure(): Promise<void> {
    await ensurePredictions(this.#options.connection);
    for (const queue of this.#queues.values()) await queue.ensure();
  }

  /**
   * Handles the outcome of published results: rejected ones are offered to the queues one by one.
   *
   * @throws MillraceError `RABBITMQ_UNAVAILABLE`, retriable.
   */
  async note(published: readonly OutgoingMessage[], rejected: readonly OutgoingMessage[]): Promise<void> {
    const taken = rejected.length === 0 ? published : published.filter((each) => !rejected.includes(each));
    for (const queue of this.#queues.values()) queue.noteTaken(taken);
    if (rejected.length === 0) {
      if (published.length > 0) this.#setStranger(undefined);
      return;
    }
    const blamed = new Set<OutgoingMessage>();
    for (const queue of this.#queues.values())
      for (const message of await queue.offer(rejected)) blamed.add(message);
    const others = rejected.filter((message) => !blamed.has(message)).length;
    if (others === 0) return;
    this.#options.metrics.rabbitPublished.inc({ kind: 'result', outcome: 'refused' }, others);
    this.#setStranger(
      'rejects results: a queue is full that is bound to it by hand. Read it, or name it in RABBITMQ_RESULTS_QUEUES, so that they are tried again',
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#watching, ...[...this.#queues.values()].map((queue) => queue.stop())]);
  }

  async #watch(): Promise<void> {
    const { connection, watchMs = 5_000 } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(watchMs, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted || !connection.status().ok) continue;
      for (const queue of this.#queues.values()) await queue.look();
    }
  }

  #setStranger(problem: string | undefined): void {
    if (this.#stranger.problem === problem) return;
    this.#stranger =
      problem === undefined ? { ok: true, since: Date.now() } : { ok: false, since: Date.now(), problem };
    if (problem !== undefined) this.#options.logger.warn(`The exchange ${predictionsExchange} ${problem}.`);
  }
}

interface Waiting {
  message: OutgoingMessage;
  tries: number;
}

/** One queue for results, and the results that it rejected. */
class Queue {
  readonly #name: string;
  readonly #patterns: readonly string[];
  readonly #options: ResultsQueuesOptions;
  readonly #signal: AbortSignal;
  readonly #logger: Logger;
  #waiting: Waiting[] = [];
  #givenUp = 0;
  #rejects = false;
  #retrying: Promise<void> | undefined;
  #unusable = false;
  /** The problem of the queue: it can't be used, or it has no reader. */
  #trouble: string | undefined;
  #status: BridgeStatus = { ok: true, since: Date.now() };

  constructor(name: string, patterns: readonly string[], options: ResultsQueuesOptions, signal: AbortSignal) {
    this.#name = name;
    this.#patterns = patterns;
    this.#options = options;
    this.#signal = signal;
    this.#logger = options.logger.child({ queue: name });
  }

  status(): BridgeStatus {
    const counts = `${this.#waiting.length} wait to be tried again, ${this.#givenUp} were given up`;
    return this.#rejects
      ? { ...this.#status, problem: `the queue ${this.#name} rejects results, it may be full: ${counts}` }
      : this.#status;
  }

  async ensure(): Promise<void> {
    try {
      await ensureResultsQueue(this.#options.connection, this.#name, this.#patterns);
      this.#unusable = false;
      this.#report(undefined);
    } catch (error) {
      if (!isOwnFault(error)) throw error;
      this.#unusable = true;
      this.#report(messageOf(error));
    }
  }

  /** Whether the queue still exists and has a reader. */
  async look(): Promise<void> {
    const { connection } = this.#options;
    if (this.#unusable) return this.ensure().catch(() => undefined);
    try {
      const state = await connection.use((channel) => channel.checkQueue(this.#name));
      const isUnread = state.consumerCount === 0 && state.messageCount >= manyUnread;
      const unread = `nobody reads the queue ${this.#name}: results wait in it, ${manyUnread} or more. Read it, or take it out of RABBITMQ_RESULTS_QUEUES and delete it`;
      this.#report(isUnread ? unread : undefined);
    } catch (error) {
      if (codeOf(error) !== 404) return;
      this.#logger.warn('the queue for results was deleted: it is declared and bound again');
      await this.ensure().catch(() => undefined);
    }
  }

  noteTaken(messages: readonly OutgoingMessage[]): void {
    if (this.#rejects && this.#waiting.length === 0 && messages.some((message) => this.#takes(message)))
      this.#setRejects(false);
  }

  /** @returns the messages that this queue rejects; the queue retries them by itself. */
  async offer(messages: readonly OutgoingMessage[]): Promise<OutgoingMessage[]> {
    const mine = messages.filter((message) => this.#takes(message));
    const refused = this.#waiting.length > 0 ? mine : await this.#publish(mine);
    if (refused.length === 0) return refused;
    this.#setRejects(true);
    this.#waiting.push(...refused.map((message) => ({ message, tries: 0 })));
    this.#giveUp(this.#waiting.splice(0, Math.max(0, this.#waiting.length - maxWaiting)));
    this.#retrying ??= this.#retry();
    return refused;
  }

  async stop(): Promise<void> {
    await this.#retrying;
  }

  #takes({ routingKey }: OutgoingMessage): boolean {
    return this.#patterns.some((pattern) => matchesPattern(pattern, routingKey));
  }

  /** Retries until all results are accepted or given up. */
  async #retry(): Promise<void> {
    const { retryLimit, retryDelayMs } = this.#options;
    for (let attempt = 0; this.#waiting.length > 0; attempt++) {
      await backoff(attempt, { firstMs: retryDelayMs, maxMs: maxDelayMs, signal: this.#signal });
      const tried = this.#waiting.slice(0, 100);
      try {
        const refused = new Set(await this.#publish(tried.map(({ message }) => message)));
        if (refused.size < tried.length) attempt = -1;
        const isOver = (each: Waiting): boolean => this.#signal.aborted || each.tries >= retryLimit;
        for (const each of tried) if (refused.has(each.message)) each.tries++;
        this.#waiting = this.#waiting.filter((each) => !tried.includes(each) || refused.has(each.message));
        this.#giveUp(this.#waiting.filter(isOver));
        this.#waiting = this.#waiting.filter((each) => !isOver(each));
        if (refused.size === 0 && this.#waiting.length === 0) this.#setRejects(false);
      } catch (error) {
        // RabbitMQ is down: its connection reports it.
        if (!this.#signal.aborted) continue;
        this.#logger.error({ err: error }, 'results could not be published before the end');
        this.#giveUp(this.#waiting.splice(0));
      }
    }
    this.#retrying = undefined;
  }

  async #publish(messages: readonly OutgoingMessage[]): Promise<OutgoingMessage[]> {
    const direct = new Map(messages.map((message) => [this.#direct(message), message]));
    const { refused, returned } = await this.#options.publisher.publish([...direct.keys()]);
    // A deleted queue returns them; it is declared again when the deletion is noticed.
    const missing = new Set(returned.map(({ properties }) => properties.messageId as unknown));
    return [...direct.keys()]
      .filter((message) => refused.includes(message) || missing.has(message.options.messageId))
      .flatMap((message) => direct.get(message) ?? []);
  }

  /** Addresses the message to this queue only. */
  #direct(message: OutgoingMessage): OutgoingMessage {
    const headers = { ...message.options.headers, 'millrace-routing-key': message.routingKey };
    return { ...message, exchange: '', routingKey: this.#name, options: { ...message.options, headers } };
  }

  #giveUp(given: readonly Waiting[]): void {
    if (given.length === 0) return;
    this.#givenUp += given.length;
    this.#options.metrics.rabbitPublished.inc({ kind: 'result', outcome: 'refused' }, given.length);
    this.#logger.error(
      { results: given.length, first: given[0]?.message.options.messageId },
      'the queue rejected results until they were given up; they are on the log and in ClickHouse',
    );
  }

  #setRejects(rejects: boolean): void {
    if (this.#rejects === rejects) return;
    this.#rejects = rejects;
    if (rejects)
      this.#logger.warn('the queue rejects results, it may be full: they are tried again, the others go on');
    else {
      this.#givenUp = 0;
      this.#logger.info('the queue takes results again');
    }
    this.#update();
  }

  #report(trouble: string | undefined): void {
    if (this.#trouble === trouble) return;
    this.#trouble = trouble;
    if (trouble !== undefined) this.#logger.warn(`Results: ${trouble}`);
    this.#update();
  }

  #update(): void {
    const ok = !this.#rejects && this.#trouble === undefined;
    const since = this.#status.ok === ok ? this.#status.since : Date.now();
    this.#status = this.#trouble === undefined ? { ok, since } : { ok, since, problem: this.#trouble };
  }
}

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { MillraceError, messageOf } from '../../platform/errors.js';
import type { Health } from '../../platform/health.js';
import type { Metrics } from '../../platform/metrics.js';
import { knownSecrets } from '../../platform/secrets.js';
import type { Role } from '../context.js';
import type { FromThread, ThreadAnswers, ThreadOptions, ToThread } from './messages.js';

/** A thread that does not answer for this time is stuck, milliseconds. */
const stuckAfterMs = 60_000;

/**
 * A role in a thread of its own, with its own event loop and connections, as in a process of its own. An
 * error that it does not handle ends the process.
 */
export class RoleThread implements Role {
  readonly #role: string;
  readonly #onCrash: (error: MillraceError) => void;
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  readonly #started: Promise<void>;
  readonly #stopped: Promise<void>;
  #onStopped: (() => void) | undefined;
  /** Without an answer, the oldest first. */
  readonly #questions = new Map<number, { since: number; resolve: (answer: never) => void }>();
  #settle: { resolve: () => void; reject: (error: MillraceError) => void } | undefined;
  #lastId = 0;
  #isStarted = false;
  #isStopping = false;

  /**
   * Starts the thread, which loads its code and waits for {@link start}.
   *
   * @param onCrash - called when the thread ends by itself after its start. Default: throws the error, which
   *   nothing handles.
   */
  constructor(options: Omit<ThreadOptions, 'secrets'>, onCrash: (error: MillraceError) => void = raise) {
    this.#onCrash = onCrash;
    this.#role = options.role;
    const workerData: ThreadOptions = { ...options, secrets: knownSecrets() };
    this.#worker = new Worker(new URL('./thread.js', import.meta.url), {
      workerData,
      name: options.role,
      // Some flags of this process, such as --input-type, would keep a thread from loading its file.
      execArgv: [],
    });
    this.#started = new Promise<void>((resolve, reject) => (this.#settle = { resolve, reject }));
    this.#stopped = new Promise<void>((resolve) => (this.#onStopped = resolve));
    // The start may end before `start` waits for it.
    this.#started.catch(() => undefined);
    this.#exited = once(this.#worker, 'exit');
    let cause: unknown;
    this.#worker.on('error', (error) => (cause = error));
    this.#worker.on('message', (message: FromThread) => this.#receive(message));
    this.#worker.on('exit', (code) => this.#onExit(code, cause));
  }

  /**
   * Starts the role, and shows its parts and metrics with those of the main thread.
   *
   * @param pipelines - names of all.
   * @throws MillraceError of the start.
   */
  async start(pipelines: readonly string[], { health, metrics }: { health: Health; metrics: Metrics }) {
    health.include(`thread ${this.#role}`, () => this.#ask('health'));
    health.addStuck(`thread ${this.#role}`, () => this.#stuck());
    metrics.include(() => this.#ask('metrics'));
    this.#send({ kind: 'start', pipelines });
    await this.#started;
    this.#isStarted = true;
  }

  /** Ends when the role has completed its work in progress. The thread stays until {@link end}. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#send({ kind: 'stop' });
    await Promise.race([this.#stopped, this.#exited]);
  }

  /** Ends the thread. The embedded ClickHouse must be closed: see `Chdb.share`. */
  async end(): Promise<void> {
    this.#isStopping = true;
    await this.#worker.terminate();
  }

  #ask<What extends keyof ThreadAnswers>(what: What): Promise<ThreadAnswers[What]> {
    return new Promise((resolve) => {
      const id = ++this.#lastId;
      this.#questions.set(id, { since: performance.now(), resolve });
      this.#send({ kind: 'ask', id, what });
    });
  }

  /** What is stuck in the thread; or that it does not answer, without waiting for it. */
  async #stuck(): Promise<string | undefined> {
    const found = await Promise.race([this.#ask('stuck'), sleep(1_000, undefined, { ref: false })]);
    if (found === undefined) {
      const [oldest] = this.#questions.values();
      const silentMs = performance.now() - (oldest?.since ?? Infinity);
      if (silentMs < stuckAfterMs) return undefined;
      return `the thread has not answered for ${Math.round(silentMs / 1000)} s`;
    }
    const problems = Object.entries(found).map(([part, problem]) => `${part}: ${problem}`);
    return problems.length === 0 ? undefined : problems.join('; ');
  }

  #send(message: ToThread): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has no origin
    this.#worker.postMessage(message);
  }

  #receive(message: FromThread): void {
    if (message.kind === 'started') return this.#settle?.resolve();
    if (message.kind === 'stopped') return this.#onStopped?.();
    if (message.kind === 'failed') {
      const { code, retriable } = message;
      return this.#settle?.reject(new MillraceError(code, message.message, { retriable }));
    }
    this.#questions.get(message.id)?.resolve(message.value as never);
    this.#questions.delete(message.id);
  }

  #onExit(code: number, cause: unknown): void {
    const why = cause === undefined ? `exit code ${code}` : messageOf(cause);
    const error = new MillraceError('THREAD_FAILED', `The thread of ${this.#role} ended: ${why}.`, { cause });
    this.#settle?.reject(error);
    if (this.#isStopping) return;
    if (this.#isStarted) this.#onCrash(error);
  }
}

function raise(error: MillraceError): void {
  throw error;
}

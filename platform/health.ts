import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError, messageOf } from './errors.js';
import { withoutSecrets } from './secrets.js';

/** State of one part of the system: `degraded` works with less, `down` does not work. */
export interface PartHealth {
  status: 'up' | 'degraded' | 'down';
  /** The problem, and since when if known. */
  detail?: string;
}

/** Returns the state of a part; if it throws, the part has failed, with the error as the reason. */
export type HealthCheck = () => PartHealth | Promise<PartHealth>;

/** Returns what is permanently stuck, or nothing. */
export type StuckCheck = () => string | undefined | Promise<string | undefined>;

export interface HealthReport {
  status: 'up' | 'degraded' | 'down';
  parts: Record<string, PartHealth>;
}

/** Asks every part that this process needs. */
export class Health {
  readonly #checks = new Map<string, { check: HealthCheck; failure: PartHealth['status'] }>();
  readonly #separate: (() => Record<string, PartHealth>)[] = [];
  readonly #stuck = new Map<string, StuckCheck>();
  readonly #timeoutMs: number;
  #phase: 'starting' | 'running' | 'stopping';

  /**
   * @param timeoutMs - a part that does not answer in this time has failed. Default 2,000.
   * @param phase - `starting` is down until `started()`. Default `running`.
   */
  constructor(timeoutMs = 2000, phase: 'starting' | 'running' = 'running') {
    this.#timeoutMs = timeoutMs;
    this.#phase = phase;
  }

  /**
   * @param optional - whether the process does its main work without this part: then a failure is `degraded`.
   */
  add(part: string, check: HealthCheck, { optional = false }: { optional?: boolean } = {}): void {
    this.#checks.set(part, { check, failure: optional ? 'degraded' : 'down' });
  }

  /** Removes a part, and what is stuck in it. */
  remove(part: string): void {
    this.#checks.delete(part);
    this.#stuck.delete(part);
  }

  /** Adds parts that come and go. One that is down leaves the process degraded: the others do their work. */
  addSeparate(parts: () => Record<string, PartHealth>): void {
    this.#separate.push(parts);
  }

  /** @param check - finds states that only a restart of the process fixes: liveness fails then. */
  addStuck(part: string, check: StuckCheck): void {
    this.#stuck.set(part, check);
  }

  started(): void {
    if (this.#phase === 'starting') this.#phase = 'running';
  }

  /** Reports `down` from now on, so that no new work is sent here while the work in flight ends. */
  drain(): void {
    this.#phase = 'stopping';
  }

  /**
   * Returns problems that only a restart fixes, by part; empty as long as the process is useful, whatever
   * else is down.
   */
  async stuck(): Promise<Record<string, string>> {
    const found = await Promise.all(
      [...this.#stuck].map(async ([part, check]) => {
        const problem = await check();
        return problem === undefined ? [] : [[part, problem] as const];
      }),
    );
    return Object.fromEntries(found.flat());
  }

  async report(): Promise<HealthReport> {
    // A copy of the current list: parts that are added while the others are asked would be missing from an
    // `up`.
    const phase = this.#phase;
    const parts: Record<string, PartHealth> = Object.fromEntries(
      await Promise.all(
        [...this.#checks].map(
          async ([name, { check, failure }]) => [name, await this.#ask(check, failure)] as const,
        ),
      ),
    );
    if (phase !== 'running') parts['process'] = { status: 'down', detail: phase };
    const statuses = new Set(Object.values(parts).map(({ status }) => status));
    for (const [name, { status, detail }] of this.#separate.flatMap((each) => Object.entries(each()))) {
      parts[name] = detail === undefined ? { status } : { status, detail: withoutSecrets(detail) };
      statuses.add(status === 'down' ? 'degraded' : status);
    }
    return { status: statuses.has('down') ? 'down' : statuses.has('degraded') ? 'degraded' : 'up', parts };
  }

  /**
   * Resolves when no part is down.
   *
   * @param without - a part that may be down.
   * @throws MillraceError `NOT_READY` with the parts that are down after `timeoutMs`.
   */
  async whenUp(timeoutMs = 30_000, without?: string): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const { parts } = await this.report();
      const down = Object.entries(parts).filter(
        ([name, part]) => part.status === 'down' && this.#isNeeded(name) && name !== without,
      );
      if (down.length === 0) return;
      if (performance.now() > deadline) {
        const reasons = down.map(([name, { detail }]) => `${name} (${detail})`).join(', ');
        throw new MillraceError(
          'NOT_READY',
          `Not ready after ${timeoutMs} ms: ${reasons}. The log says more.`,
        );
      }
      await sleep(20);
    }
  }

  /** Whether the process is down with the part. */
  #isNeeded(part: string): boolean {
    return part === 'process' || this.#checks.has(part);
  }

  async #ask(check: HealthCheck, failure: PartHealth['status']): Promise<PartHealth> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<PartHealth>((resolve) => {
      timer = setTimeout(resolve, this.#timeoutMs, {
        status: failure,
        detail: `no answer in ${this.#timeoutMs} ms`,
      });
    });
    try {
      const health = await Promise.race([Promise.resolve().then(check), late]);
      return health.detail === undefined ? health : { ...health, detail: withoutSecrets(health.detail) };
    } catch (error) {
      return { status: failure, detail: withoutSecrets(messageOf(error)) };
    } finally {
      clearTimeout(timer);
    }
  }
}

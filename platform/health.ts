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

/** The parts of a {@link Health}: it is down with a needed one, and degraded with a separate one. */
export interface HealthParts {
  needed: Record<string, PartHealth>;
  separate: Record<string, PartHealth>;
}

export interface HealthReport {
  status: 'up' | 'degraded' | 'down';
  parts: Record<string, PartHealth>;
}

/** Asks every part that this process needs. */
export class Health {
  readonly #checks = new Map<string, { check: HealthCheck; failure: PartHealth['status'] }>();
  readonly #separate: (() => Record<string, PartHealth>)[] = [];
  readonly #included = new Map<string, () => Promise<HealthParts>>();
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

  /**
   * Adds the parts of another thread; of two with one name, the worse counts. Without an answer, the part
   * `name` is down.
   */
  include(name: string, parts: () => Promise<HealthParts>): void {
    this.#included.set(name, parts);
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
    const { needed, separate } = await this.parts();
    const statuses = new Set(Object.values(needed).map(({ status }) => status));
    for (const { status } of Object.values(separate)) statuses.add(status === 'down' ? 'degraded' : status);
    return {
      status: statuses.has('down') ? 'down' : statuses.has('degraded') ? 'degraded' : 'up',
      parts: { ...needed, ...separate },
    };
  }

  /** Returns the state of each part; the start and the end of the process are a needed part `process`. */
  async parts(): Promise<HealthParts> {
    // A copy of the current list: parts that are added while the others are asked would be missing from an
    // `up`.
    const phase = this.#phase;
    const asked = [...this.#checks].map(
      async ([name, { check, failure }]) => [name, await this.#ask(check, failure)] as const,
    );
    const included = [...this.#included].map(([name, parts]) => this.#askThread(name, parts));
    const own = Object.fromEntries(await Promise.all(asked));
    if (phase !== 'running') own['process'] = { status: 'down', detail: phase };
    const separate = this.#separate.flatMap((each) =>
      Object.entries(each()).map(([name, part]) => [name, shownOf(part)] as const),
    );
    const all = [{ needed: own, separate: Object.fromEntries(separate) }, ...(await Promise.all(included))];
    return {
      needed: worstOf(all.map(({ needed }) => needed)),
      separate: worstOf(all.map((each) => each.separate)),
    };
  }

  /**
   * Resolves when no needed part is down.
   *
   * @param without - a part that may be down.
   * @throws MillraceError `NOT_READY` with the parts that are down after `timeoutMs`.
   */
  async whenUp(timeoutMs = 30_000, without?: string): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const { needed } = await this.parts();
      const down = Object.entries(needed).filter(
        ([name, part]) => part.status === 'down' && name !== without,
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

  async #askThread(name: string, parts: () => Promise<HealthParts>): Promise<HealthParts> {
    let answered: HealthParts = { needed: {}, separate: {} };
    const check = async (): Promise<PartHealth> => {
      answered = await parts();
      return { status: 'up' };
    };
    // It waits for its own parts as long as this waits for it.
    const state = await this.#ask(check, 'down', this.#timeoutMs * 1.5);
    return state.status === 'up' ? answered : { needed: { [name]: state }, separate: {} };
  }

  async #ask(
    check: HealthCheck,
    failure: PartHealth['status'],
    timeoutMs = this.#timeoutMs,
  ): Promise<PartHealth> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<PartHealth>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, { status: failure, detail: `no answer in ${timeoutMs} ms` });
    });
    try {
      return shownOf(await Promise.race([Promise.resolve().then(check), late]));
    } catch (error) {
      return { status: failure, detail: withoutSecrets(messageOf(error)) };
    } finally {
      clearTimeout(timer);
    }
  }
}

const severity: Record<PartHealth['status'], number> = { up: 0, degraded: 1, down: 2 };

function worstOf(reports: readonly Record<string, PartHealth>[]): Record<string, PartHealth> {
  const worst: Record<string, PartHealth> = {};
  for (const [name, part] of reports.flatMap((parts) => Object.entries(parts))) {
    const other = worst[name];
    if (other === undefined || severity[part.status] > severity[other.status]) worst[name] = part;
  }
  return worst;
}

function shownOf({ status, detail }: PartHealth): PartHealth {
  return detail === undefined ? { status } : { status, detail: withoutSecrets(detail) };
}

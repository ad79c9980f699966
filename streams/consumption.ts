import { messageOf } from '../platform/errors.js';

export interface ConsumptionStatus {
  /** In contact with the log (a member of its group, where it has one), and the last batch went through. */
  ok: boolean;
  /** Since when (milliseconds since 1970) it has been so. */
  since: number;
  /** Why it is not, or last was not. */
  lastError?: string;
}

/** A running consumption of topics. It goes on through outages, rebalances and errors until it is stopped. */
export interface Consumption {
  /** Finishes what is in work, commits it, leaves the group. What could not be finished is read again next time. */
  stop(): Promise<void>;
  status(): ConsumptionStatus;
  /**
   * When (milliseconds since 1970) it last had an answer of the log, or tried once more to become a member of its group.
   * Long ago, while the log does answer others, it is stuck.
   */
  aliveAt(): number;
}

/** How reading from the log goes. */
export class ConsumptionHealth {
  readonly #silenceMs: number;
  #status: ConsumptionStatus;
  #lastContact = Date.now();

  /**
   * @param silenceMs - without an answer of the log for so long it is not well.
   * @param beginning - what it does until the first report.
   */
  constructor(silenceMs: number, beginning: string) {
    this.#silenceMs = silenceMs;
    this.#status = { ok: false, since: Date.now(), lastError: beginning };
  }

  get status(): ConsumptionStatus {
    const silent = Date.now() - this.#lastContact > this.#silenceMs;
    if (!this.#status.ok || !silent) return this.#status;
    return { ok: false, since: this.#lastContact, lastError: 'no contact with the log' };
  }

  /** When the log last answered, milliseconds since 1970. */
  get lastContact(): number {
    return this.#lastContact;
  }

  /** The log answered. */
  contact(): void {
    this.#lastContact = Date.now();
  }

  /** How the last batch, or the last try to read one, went. */
  report(error?: unknown): void {
    const ok = error === undefined;
    const since = ok === this.#status.ok ? this.#status.since : Date.now();
    const lastError = ok ? this.#status.lastError : messageOf(error);
    this.#status = lastError === undefined ? { ok, since } : { ok, since, lastError };
  }
}

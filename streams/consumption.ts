import { messageOf } from '../platform/errors.js';

export interface ConsumptionStatus {
  /** In contact with the log (a member of its group, if it has one), and the last batch succeeded. */
  ok: boolean;
  /** Since when (milliseconds since 1970) this state applies. */
  since: number;
  /** The current, or else the last, error. */
  lastError?: string;
}

/**
 * A running consumption of topics. It continues through outages, rebalances and errors until it is stopped.
 */
export interface Consumption {
  /**
   * Finishes the work in flight, commits it, leaves the group. Unfinished records are read again next time.
   */
  stop(): Promise<void>;
  status(): ConsumptionStatus;
  /**
   * When (milliseconds since 1970) the log last answered, or it last tried to join its group. If that is long
   * ago while the log answers others, the consumption is stuck.
   */
  aliveAt(): number;
}

/** State of a consumption. */
export class ConsumptionHealth {
  readonly #silenceMs: number;
  #status: ConsumptionStatus;
  #lastContact = Date.now();

  /**
   * @param silenceMs - it is unhealthy after this time without an answer of the log.
   * @param beginning - its activity until the first report.
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

  /** Notes an answer of the log. */
  contact(): void {
    this.#lastContact = Date.now();
  }

  /** Notes the outcome of the last batch, or of the last attempt to read one. */
  report(error?: unknown): void {
    const ok = error === undefined;
    const since = ok === this.#status.ok ? this.#status.since : Date.now();
    const lastError = ok ? this.#status.lastError : messageOf(error);
    this.#status = lastError === undefined ? { ok, since } : { ok, since, lastError };
  }
}

/** Number of calls that may be early after a pause. */
const burst = 5;

/**
 * Limits calls that do not wait for their full time, so that a steady trickle does not become many small
 * batches: on average one per interval counts, as without early calls, and a few at once after a pause. All
 * times are milliseconds since 1970.
 */
export class EarlyCalls {
  readonly #intervalMs: number;
  /** The time that the calls so far fill, at one per interval. */
  #filledUntil = 0;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Allows none before one interval has passed, and a burst only after as many. */
  reset(now: number): void {
    this.#filledUntil = now + burst * this.#intervalMs;
  }

  /** Notes a call, early or not. */
  note(now: number): void {
    this.#filledUntil = Math.min(
      Math.max(this.#filledUntil, now) + this.#intervalMs,
      now + burst * this.#intervalMs,
    );
  }

  /** Returns the time from which the next call may be early. */
  get next(): number {
    return this.#filledUntil - (burst - 1) * this.#intervalMs;
  }
}

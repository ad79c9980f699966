/** Limits the number of concurrent tasks; the others wait in order of arrival. */
export class Semaphore {
  #free: number;
  readonly #total: number;
  readonly #waiting: (() => void)[] = [];
  readonly #idle: (() => void)[] = [];

  constructor(total: number) {
    this.#total = total;
    this.#free = total;
  }

  /** Whether nothing runs and nothing waits. */
  get isIdle(): boolean {
    return this.#free === this.#total;
  }

  /** Runs `work` when there is capacity, and resolves with its result. A failure affects only its caller. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((start) => this.#waiting.push(start));
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  /** Resolves once nothing runs and nothing waits. */
  async whenIdle(): Promise<void> {
    if (!this.isIdle) await new Promise<void>((done) => this.#idle.push(done));
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next();
      return;
    }
    this.#free++;
    if (this.isIdle) for (const done of this.#idle.splice(0)) done();
  }
}

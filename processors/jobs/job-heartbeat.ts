/** Far less than the time after which another process takes over a job without heartbeats. */
const heartbeatMs = 1_000;

/**
 * Writes a heartbeat for other processes in every second without other events of the job: opening a workbook
 * and querying may take long.
 */
export class JobHeartbeat {
  readonly #send: () => Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #sentAt = performance.now();

  /** @param send - writes an event of the job; it may fail, since the work itself gets the same error. */
  constructor(send: () => Promise<void>) {
    this.#send = send;
    this.#timer = setInterval(() => void this.#beat(), heartbeatMs);
  }

  /** Whether nothing has been written about the job for a second. */
  get isDue(): boolean {
    return performance.now() - this.#sentAt >= heartbeatMs;
  }

  /** Notes that an event of the job was written. */
  sent(): void {
    this.#sentAt = performance.now();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #beat(): Promise<void> {
    if (this.isDue) await this.#send().catch(() => undefined);
  }
}

import { Mutex } from '../platform/mutex.js';
import type { Consumption, ConsumptionStatus } from './consumption.js';

/** A consumption that is started anew when its topics change. */
export class RestartableConsumption implements Consumption {
  readonly #start: () => Promise<Consumption>;
  readonly #turn = new Mutex();
  #current: Consumption;
  #isStopped = false;

  private constructor(start: () => Promise<Consumption>, first: Consumption) {
    this.#start = start;
    this.#current = first;
  }

  /** @param start - starts the consumption with its present topics. */
  static async start(start: () => Promise<Consumption>): Promise<RestartableConsumption> {
    return new RestartableConsumption(start, await start());
  }

  /** Finishes the work in flight, and starts anew. */
  restart(): Promise<void> {
    return this.#turn.run(async () => {
      if (this.#isStopped) return;
      await this.#current.stop();
      this.#current = await this.#start();
    });
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#turn.run(() => this.#current.stop());
  }

  status(): ConsumptionStatus {
    return this.#current.status();
  }

  aliveAt(): number {
    return this.#current.aliveAt();
  }
}

import type { ConsumptionStatus } from './group-consumer.js';

/** A running consumption of topics. It goes on through outages, rebalances and errors until it is stopped. */
export interface Consumption {
  /** Finishes what is in work, commits it, leaves the group. What could not be finished is read again next time. */
  stop(): Promise<void>;
  /**
   * Resolves once this record is processed and committed (for `transform`: its outputs are visible).
   *
   * @throws MillraceError `PROCESSING_TIMEOUT`, retriable.
   */
  whenProcessed(
    topic: string,
    partition: number,
    offset: number,
    options: { timeoutMs: number },
  ): Promise<void>;
  status(): ConsumptionStatus;
}

import type { ConsumptionStatus } from './consumption-health.js';

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

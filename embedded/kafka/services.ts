import type { Logger } from '../../platform/logger.js';
import type { Clock } from './clock.js';
import type { GroupCoordinator } from './groups/group-coordinator.js';
import type { MemoryBudget } from './network/memory-budget.js';
import type { Topics } from './storage/topics.js';
import type { TransactionCoordinator } from './transactions/transaction-coordinator.js';

/** The one node's id in every answer. */
export const nodeId = 1;

export interface ServedVersions {
  key: number;
  name: string;
  minVersion: number;
  maxVersion: number;
}

/** Dependencies of the APIs. */
export interface Services {
  clusterId: string;
  /** The folder of all data. */
  dataDir: string;
  logger: Logger;
  clock: Clock;
  topics: Topics;
  groups: GroupCoordinator;
  transactions: TransactionCoordinator;
  served: readonly ServedVersions[];
  /** Partitions of a topic that is created without a number. */
  defaultPartitions: number;
  autoCreateTopics: boolean;
  /** Maximum record bytes of one Fetch answer, whatever the client allows. */
  maxFetchBytes: number;
  /** Of unread answers: while it is short, answers get smaller. */
  answerMemory: MemoryBudget;
}

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

/** What the APIs work with. */
export interface Services {
  clusterId: string;
  /** The folder that everything is kept in. */
  dataDir: string;
  logger: Logger;
  clock: Clock;
  topics: Topics;
  groups: GroupCoordinator;
  transactions: TransactionCoordinator;
  served: readonly ServedVersions[];
  /** Partitions of a topic that is created without saying how many. */
  defaultPartitions: number;
  autoCreateTopics: boolean;
  /** Maximum of record bytes in one Fetch answer, whatever the client allows. */
  maxFetchBytes: number;
  /** Of answers that clients have not taken yet: while it is short, answers get smaller. */
  answerMemory: MemoryBudget;
}

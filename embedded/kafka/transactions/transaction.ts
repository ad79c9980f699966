import type { PartitionOffset } from '../groups/offsets.js';

export type TransactionState =
  'Empty' | 'Ongoing' | 'PrepareCommit' | 'PrepareAbort' | 'CompleteCommit' | 'CompleteAbort';

/** The complete durable state of one transactional id. */
export interface Transaction {
  producerId: number;
  epoch: number;
  /**
   * The epoch before the last bump that the producer itself requested (InitProducerId 3): a retry still has
   * it.
   */
  previousEpoch: number;
  timeoutMs: number;
  state: TransactionState;
  /** Milliseconds since the epoch; of the ongoing transaction. */
  startedAt: number;
  /** Milliseconds since the epoch; of the last change. */
  updatedAt: number;
  partitions: { topic: string; partition: number }[];
  /** Offsets to commit with the transaction, by group. A group without offsets yet has an empty list. */
  offsets: Record<string, PartitionOffset[]>;
}

/** Effect of a producer's EndTxn: decide, wait for or confirm an earlier decision, or be refused. */
type EndTransition = 'decide' | 'wait' | 'repeat' | 'refuse';

const endTransitions: Readonly<Record<TransactionState, { commit: EndTransition; abort: EndTransition }>> = {
  Empty: { commit: 'refuse', abort: 'refuse' },
  Ongoing: { commit: 'decide', abort: 'decide' },
  PrepareCommit: { commit: 'wait', abort: 'refuse' },
  PrepareAbort: { commit: 'refuse', abort: 'wait' },
  CompleteCommit: { commit: 'repeat', abort: 'refuse' },
  CompleteAbort: { commit: 'refuse', abort: 'repeat' },
};

export function endTransition(state: TransactionState, commit: boolean): EndTransition {
  return endTransitions[state][commit ? 'commit' : 'abort'];
}

export function isPrepared(state: TransactionState): boolean {
  return state === 'PrepareCommit' || state === 'PrepareAbort';
}

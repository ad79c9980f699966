import type { Logger } from '../../../platform/logger.js';
import type { Clock } from '../clock.js';
import type { Offsets, PartitionOffset } from '../groups/offsets.js';
import { ErrorCode } from '../protocol/error-codes.js';
import type { StateChange, StateStore } from '../storage/state-store.js';
import type { ProducerIds } from './producer-ids.js';
import { endTransition, isPrepared } from './transaction.js';
import type { Transaction } from './transaction.js';

const maxTimeoutMs = 15 * 60_000;
const maxEpoch = 0x7fff - 1;
const retryCompletionMs = 1_000;
/** An unused id is forgotten after this time (Kafka's `transactional.id.expiration.ms`). */
const idExpiryMs = 7 * 24 * 3600 * 1000;

/** The partition logs' interface for transactions. */
export interface TransactionLogs {
  exists(topic: string, partition: number): boolean;
  /** Resolves when the marker is on disk. A partition that no longer exists is skipped. */
  appendMarker(
    topic: string,
    partition: number,
    producerId: number,
    epoch: number,
    committed: boolean,
  ): Promise<void>;
  /** Partitions on which some producer has an open transaction. */
  open(): { topic: string; partition: number; producerId: number; epoch: number }[];
}

export interface ProducerIdentity {
  producerId: number;
  epoch: number;
}

interface Dependencies {
  store: StateStore;
  offsets: Offsets;
  producerIds: ProducerIds;
  logs: TransactionLogs;
  clock: Clock;
  logger: Logger;
}

/**
 * Kafka's transaction protocol for a single broker (KIP-98, KIP-360 bumps, KIP-447 fencing by group). Each
 * transactional id's state is on disk before a client sees it, and the decision of EndTxn before the first
 * marker: recovery completes decided transactions and lets the others continue or time out.
 */
export class TransactionCoordinator {
  readonly #transactions = new Map<string, Transaction>();
  readonly #completions = new Map<string, Promise<void>>();
  readonly #timers = new Map<string, () => void>();
  #stopped = false;
  readonly #dependencies: Dependencies;

  constructor(dependencies: Dependencies) {
    this.#dependencies = dependencies;
    for (const { key, value } of dependencies.store.entries<Transaction>('transaction')) {
      this.#transactions.set(key[0] ?? '', value);
    }
  }

  /**
   * After a start: completes decided transactions, restarts the timers of open ones, aborts those without an
   * owner.
   */
  async recover(): Promise<void> {
    const owned = new Set<string>();
    for (const [id, transaction] of this.#transactions) {
      if (isPrepared(transaction.state)) this.#startCompletion(id, transaction);
      if (transaction.state === 'Ongoing') this.#startTimer(id, transaction);
      if (transaction.state !== 'Ongoing' && !isPrepared(transaction.state)) continue;
      for (const { topic, partition } of transaction.partitions) {
        owned.add(`${transaction.producerId}/${topic}/${partition}`);
      }
    }
    await Promise.all(this.#completions.values());
    for (const { topic, partition, producerId, epoch } of this.#dependencies.logs.open()) {
      if (owned.has(`${producerId}/${topic}/${partition}`)) continue;
      await this.#dependencies.logs.appendMarker(topic, partition, producerId, epoch, false);
    }
  }

  /** InitProducerId. `known` is the producer's current id and epoch (version 3 and later). */
  async init(
    id: string | null,
    timeoutMs: number,
    known: ProducerIdentity | undefined,
  ): Promise<ProducerIdentity & { errorCode: number }> {
    if (id === null)
      return { errorCode: 0, producerId: await this.#dependencies.producerIds.allocate(), epoch: 0 };
    if (id === '') return initError(ErrorCode.INVALID_REQUEST);
    if (timeoutMs <= 0 || timeoutMs > maxTimeoutMs) return initError(ErrorCode.INVALID_TRANSACTION_TIMEOUT);
    const transaction = this.#transactions.get(id);
    if (transaction === undefined) return await this.#initNew(id, timeoutMs);
    if (isPrepared(transaction.state)) return initError(ErrorCode.CONCURRENT_TRANSACTIONS);
    if (known !== undefined && known.producerId >= 0) {
      if (known.producerId !== transaction.producerId) return initError(ErrorCode.INVALID_PRODUCER_EPOCH);
      if (known.epoch !== transaction.epoch && known.epoch === transaction.previousEpoch) {
        return { errorCode: 0, producerId: transaction.producerId, epoch: transaction.epoch };
      }
      if (known.epoch !== transaction.epoch) return initError(ErrorCode.INVALID_PRODUCER_EPOCH);
    }
    return await this.#initKnown(id, transaction, timeoutMs, known !== undefined && known.producerId >= 0);
  }

  /** AddPartitionsToTxn: an error code for each partition, in the given order. */
  async addPartitions(
    id: string,
    producer: ProducerIdentity,
    partitions: readonly { topic: string; partition: number }[],
  ): Promise<number[]> {
    const error = this.#check(id, producer, true);
    if (error !== ErrorCode.NONE) return partitions.map(() => error);
    const missing = partitions.map(
      ({ topic, partition }) => !this.#dependencies.logs.exists(topic, partition),
    );
    if (missing.includes(true)) {
      return missing.map((is) =>
        is ? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION : ErrorCode.OPERATION_NOT_ATTEMPTED,
      );
    }
    const transaction = this.#begin(id);
    for (const each of partitions) {
      if (!includes(transaction, each.topic, each.partition)) transaction.partitions.push(each);
    }
    await this.#save(id, transaction);
    return partitions.map(() => ErrorCode.NONE);
  }

  /** AddOffsetsToTxn. */
  async addGroup(id: string, producer: ProducerIdentity, group: string): Promise<number> {
    const error = this.#check(id, producer, true);
    if (error !== ErrorCode.NONE) return error;
    const transaction = this.#begin(id);
    transaction.offsets[group] ??= [];
    await this.#save(id, transaction);
    return ErrorCode.NONE;
  }

  /**
   * TxnOffsetCommit, after the group's own checks: the offsets stay invisible until the transaction commits.
   */
  async stageOffsets(
    id: string,
    producer: ProducerIdentity,
    group: string,
    offsets: readonly PartitionOffset[],
  ): Promise<number> {
    const error = this.#check(id, producer, false);
    if (error !== ErrorCode.NONE) return error;
    const transaction = this.#transactions.get(id);
    const staged = transaction?.offsets[group];
    if (transaction?.state !== 'Ongoing' || staged === undefined) return ErrorCode.INVALID_TXN_STATE;
    const replaced = staged.filter(
      (old) => !offsets.some(({ topic, partition }) => topic === old.topic && partition === old.partition),
    );
    transaction.offsets[group] = [...replaced, ...offsets];
    await this.#save(id, transaction);
    return ErrorCode.NONE;
  }

  /** Whether a transactional batch may be appended to a partition. */
  checkProduce(id: string | null, producer: ProducerIdentity, topic: string, partition: number): number {
    if (id === null) return ErrorCode.INVALID_TXN_STATE;
    const error = this.#check(id, producer, false);
    if (error !== ErrorCode.NONE) return error;
    const transaction = this.#transactions.get(id);
    const added = transaction?.state === 'Ongoing' && includes(transaction, topic, partition);
    return added ? ErrorCode.NONE : ErrorCode.INVALID_TXN_STATE;
  }

  /** EndTxn: answers when the outcome is on disk everywhere. */
  async end(id: string, producer: ProducerIdentity, commit: boolean): Promise<number> {
    const error = this.#check(id, producer, false);
    const transaction = this.#transactions.get(id);
    if (error !== ErrorCode.NONE || transaction === undefined) return error;
    const transition = endTransition(transaction.state, commit);
    if (transition === 'refuse') return ErrorCode.INVALID_TXN_STATE;
    if (transition === 'decide') await this.#decide(id, transaction, commit);
    if (transition === 'wait') await this.#completions.get(id);
    return ErrorCode.NONE;
  }

  /** Whether an open or decided transaction has a pending offset of this partition. */
  hasPendingOffset(group: string, topic: string, partition: number): boolean {
    for (const { state, offsets } of this.#transactions.values()) {
      if (state !== 'Ongoing' && !isPrepared(state)) continue;
      if (offsets[group]?.some((each) => each.topic === topic && each.partition === partition) === true)
        return true;
    }
    return false;
  }

  /** Removes unused ids; runs periodically. */
  async expireIds(): Promise<void> {
    const oldest = this.#dependencies.clock.now() - idExpiryMs;
    const expired = [...this.#transactions].filter(
      ([, { state, updatedAt }]) => state !== 'Ongoing' && !isPrepared(state) && updatedAt < oldest,
    );
    for (const [id] of expired) this.#transactions.delete(id);
    if (expired.length === 0) return;
    await this.#dependencies.store.put(
      expired.map(([id]) => ({ key: ['transaction', id], value: undefined })),
    );
  }

  /** A completion that the disk refuses is left to the next start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    await Promise.all(this.#completions.values());
  }

  async #initNew(id: string, timeoutMs: number): Promise<ProducerIdentity & { errorCode: number }> {
    const producerId = await this.#dependencies.producerIds.allocate();
    // Another call may have come first while the id was allocated.
    if (this.#transactions.has(id)) return initError(ErrorCode.CONCURRENT_TRANSACTIONS);
    const transaction: Transaction = {
      producerId,
      epoch: 0,
      previousEpoch: -1,
      timeoutMs,
      state: 'Empty',
      startedAt: 0,
      updatedAt: 0,
      partitions: [],
      offsets: {},
    };
    this.#transactions.set(id, transaction);
    await this.#save(id, transaction);
    return { errorCode: 0, producerId, epoch: 0 };
  }

  async #initKnown(
    id: string,
    transaction: Transaction,
    timeoutMs: number,
    byProducer: boolean,
  ): Promise<ProducerIdentity & { errorCode: number }> {
    // The bump comes first, so that a producer with the old epoch is fenced before its transaction is
    // aborted.
    const previousEpoch = transaction.epoch;
    if (transaction.epoch >= maxEpoch) {
      if (transaction.state === 'Ongoing') await this.#decide(id, transaction, false);
      transaction.producerId = await this.#dependencies.producerIds.allocate();
      transaction.epoch = -1;
    }
    transaction.epoch++;
    const { producerId, epoch } = transaction;
    transaction.previousEpoch = byProducer ? previousEpoch : -1;
    transaction.timeoutMs = timeoutMs;
    if (transaction.state === 'Ongoing') await this.#decide(id, transaction, false);
    if (transaction.epoch !== epoch) return initError(ErrorCode.INVALID_PRODUCER_EPOCH);
    transaction.state = 'Empty';
    await this.#save(id, transaction);
    return { errorCode: 0, producerId, epoch };
  }

  #check(id: string, producer: ProducerIdentity, refusePrepared: boolean): number {
    const transaction = this.#transactions.get(id);
    if (transaction === undefined || transaction.producerId !== producer.producerId) {
      return ErrorCode.INVALID_PRODUCER_ID_MAPPING;
    }
    if (producer.epoch !== transaction.epoch) return ErrorCode.INVALID_PRODUCER_EPOCH;
    return refusePrepared && isPrepared(transaction.state)
      ? ErrorCode.CONCURRENT_TRANSACTIONS
      : ErrorCode.NONE;
  }

  #begin(id: string): Transaction {
    const transaction = this.#transactions.get(id);
    if (transaction === undefined) throw new Error(`transactional id ${id} is unknown after its check`);
    if (transaction.state === 'Ongoing') return transaction;
    transaction.state = 'Ongoing';
    transaction.startedAt = this.#dependencies.clock.now();
    transaction.partitions = [];
    transaction.offsets = {};
    this.#startTimer(id, transaction);
    return transaction;
  }

  async #decide(id: string, transaction: Transaction, commit: boolean): Promise<void> {
    this.#timers.get(id)?.();
    this.#timers.delete(id);
    transaction.state = commit ? 'PrepareCommit' : 'PrepareAbort';
    const decided = this.#save(id, transaction);
    this.#startCompletion(id, transaction, decided);
    await this.#completions.get(id);
  }

  /** Completes the transaction, with retries if the disk refuses, whether or not a caller waits. */
  #startCompletion(id: string, transaction: Transaction, decided: Promise<void> = Promise.resolve()): void {
    const completion = this.#complete(id, transaction, decided).finally(() => this.#completions.delete(id));
    this.#completions.set(id, completion);
  }

  async #complete(id: string, transaction: Transaction, decided: Promise<void>): Promise<void> {
    const committed = transaction.state === 'PrepareCommit';
    let ready = decided;
    for (;;) {
      try {
        await ready;
        await this.#writeMarkers(transaction, committed);
        break;
      } catch (error) {
        this.#dependencies.logger.error(
          { err: error, transactionalId: id },
          'Cannot complete a transaction yet',
        );
        if (this.#stopped) return;
        await new Promise<void>((resolve) => this.#dependencies.clock.after(retryCompletionMs, resolve));
        ready = this.#save(id, transaction);
      }
    }
    const changes: StateChange[] = committed
      ? Object.entries(transaction.offsets).flatMap(([group, offsets]) =>
          this.#dependencies.offsets.apply(group, offsets),
        )
      : [];
    transaction.state = committed ? 'CompleteCommit' : 'CompleteAbort';
    transaction.partitions = [];
    transaction.offsets = {};
    // Not awaited: if it gets lost, recovery completes the decided transaction again, with the same result.
    this.#dependencies.store.put([...changes, this.#change(id, transaction)]).catch(() => undefined);
  }

  async #writeMarkers(transaction: Transaction, committed: boolean): Promise<void> {
    const { producerId, epoch, partitions } = transaction;
    await Promise.all(
      partitions.map(({ topic, partition }) =>
        this.#dependencies.logs.appendMarker(topic, partition, producerId, epoch, committed),
      ),
    );
  }

  #startTimer(id: string, transaction: Transaction): void {
    this.#timers.get(id)?.();
    const left = transaction.startedAt + transaction.timeoutMs - this.#dependencies.clock.now();
    const cancel = this.#dependencies.clock.after(Math.max(0, left), () => {
      this.#timers.delete(id);
      if (transaction.state !== 'Ongoing') return;
      this.#dependencies.logger.warn(
        { transactionalId: id, timeoutMs: transaction.timeoutMs },
        'Abort a transaction that timed out',
      );
      transaction.epoch++;
      transaction.previousEpoch = -1;
      this.#decide(id, transaction, false).catch(() => undefined);
    });
    this.#timers.set(id, cancel);
  }

  #save(id: string, transaction: Transaction): Promise<void> {
    return this.#dependencies.store.put([this.#change(id, transaction)]);
  }

  #change(id: string, transaction: Transaction): StateChange {
    transaction.updatedAt = this.#dependencies.clock.now();
    return { key: ['transaction', id], value: transaction };
  }
}

function includes(transaction: Transaction, topic: string, partition: number): boolean {
  return transaction.partitions.some((each) => each.topic === topic && each.partition === partition);
}

function initError(errorCode: number): ProducerIdentity & { errorCode: number } {
  return { errorCode, producerId: -1, epoch: -1 };
}

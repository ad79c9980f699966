import { isControl, isTransactional } from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';
import { ErrorCode } from '../protocol/error-codes.js';

/** Number of batches per producer and partition that Kafka remembers to recognise retries. */
const rememberedBatches = 5;
const maxSequence = 0x7fff_ffff;

interface RememberedBatch {
  firstSequence: number;
  lastSequence: number;
  baseOffset: number;
  timestamp: number;
}

interface ProducerState {
  epoch: number;
  batches: RememberedBatch[];
  /** When it last wrote, in milliseconds since the epoch. */
  lastUsed: number;
}

export interface AbortedTransaction {
  producerId: number;
  firstOffset: number;
  /** The offset of its marker. */
  lastOffset: number;
}

export interface ProducerStatesSnapshot {
  producers: [producerId: number, state: ProducerState][];
  open: [producerId: number, firstOffset: number][];
  aborted: AbortedTransaction[];
}

export type ProducerVerdict =
  | { kind: 'append' }
  | { kind: 'duplicate'; baseOffset: number; timestamp: number }
  | { kind: 'refuse'; errorCode: number };

/**
 * State of one partition's idempotent and transactional producers: the last five batches of each (retries are
 * answered, gaps are refused), open transactions (the last stable offset) and aborted ones. It is a pure
 * function of the batch headers in the log, so it is rebuilt from them.
 */
export class ProducerStates {
  #producers = new Map<number, ProducerState>();
  /**
   * Producer id → first offset of its open transaction. In order of offset, because that is how they open.
   */
  #openSince = new Map<number, number>();
  #aborted: AbortedTransaction[] = [];

  /** Checks a client's batch before it gets an offset; does not change anything. */
  check(header: BatchHeader): ProducerVerdict {
    const state = this.#producers.get(header.producerId);
    if (header.producerId < 0 || state === undefined) return { kind: 'append' };
    if (header.producerEpoch < state.epoch)
      return { kind: 'refuse', errorCode: ErrorCode.INVALID_PRODUCER_EPOCH };
    const lastSequence = lastSequenceOf(header);
    if (header.producerEpoch === state.epoch) {
      const same = state.batches.find(
        (batch) => batch.firstSequence === header.baseSequence && batch.lastSequence === lastSequence,
      );
      if (same !== undefined)
        return { kind: 'duplicate', baseOffset: same.baseOffset, timestamp: same.timestamp };
    }
    const previous = header.producerEpoch === state.epoch ? state.batches.at(-1) : undefined;
    const expected = previous === undefined ? 0 : addToSequence(previous.lastSequence, 1);
    return header.baseSequence === expected
      ? { kind: 'append' }
      : { kind: 'refuse', errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER };
  }

  /** Adds a batch that is in the log. `committed` applies to markers only. */
  apply(header: BatchHeader, committed: boolean): void {
    if (header.producerId < 0) return;
    const timestamp = header.maxTimestamp;
    let state = this.#producers.get(header.producerId);
    if (state === undefined || header.producerEpoch > state.epoch) {
      state = { epoch: header.producerEpoch, batches: [], lastUsed: timestamp };
      this.#producers.set(header.producerId, state);
    }
    state.lastUsed = Math.max(state.lastUsed, timestamp);
    if (isControl(header)) this.#endTransaction(header, committed);
    else this.#remember(header, state, timestamp);
  }

  /** The lowest first offset of an open transaction. */
  firstOpenOffset(): number | undefined {
    const first = this.#openSince.values().next();
    return first.done === true ? undefined : first.value;
  }

  /** Producers with an open transaction. */
  open(): { producerId: number; epoch: number }[] {
    return [...this.#openSince.keys()].map((producerId) => {
      return { producerId, epoch: this.#producers.get(producerId)?.epoch ?? 0 };
    });
  }

  /** -1 without any. */
  highestId(): number {
    return [...this.#producers.keys()].reduce((highest, id) => Math.max(highest, id), -1);
  }

  /**
   * Returns aborted transactions with records in `[from, to)`, sorted by first offset: clients rely on that
   * order.
   */
  abortedBetween(from: number, to: number): AbortedTransaction[] {
    return this.#aborted
      .filter((transaction) => transaction.lastOffset >= from && transaction.firstOffset < to)
      .toSorted((a, b) => a.firstOffset - b.firstOffset);
  }

  /**
   * Removes aborted transactions below the log's start, and producers without writes since `unusedSince`.
   * Times are the producers' own: one from the future counts as `now`, or it would never be removed.
   */
  prune(logStart: number, unusedSince: number, now: number): void {
    this.#aborted = this.#aborted.filter((transaction) => transaction.lastOffset >= logStart);
    for (const [producerId, state] of this.#producers) {
      state.lastUsed = Math.min(state.lastUsed, now);
      if (!this.#openSince.has(producerId) && state.lastUsed < unusedSince)
        this.#producers.delete(producerId);
    }
  }

  snapshot(): ProducerStatesSnapshot {
    return { producers: [...this.#producers], open: [...this.#openSince], aborted: this.#aborted };
  }

  restore(snapshot: ProducerStatesSnapshot): void {
    this.#producers = new Map(snapshot.producers);
    this.#openSince = new Map(snapshot.open);
    this.#aborted = [...snapshot.aborted];
  }

  #remember(header: BatchHeader, state: ProducerState, timestamp: number): void {
    state.batches.push({
      firstSequence: header.baseSequence,
      lastSequence: lastSequenceOf(header),
      baseOffset: header.baseOffset,
      timestamp,
    });
    if (state.batches.length > rememberedBatches) state.batches.shift();
    if (isTransactional(header) && !this.#openSince.has(header.producerId)) {
      this.#openSince.set(header.producerId, header.baseOffset);
    }
  }

  #endTransaction(header: BatchHeader, committed: boolean): void {
    const { producerId, lastOffset } = header;
    const firstOffset = this.#openSince.get(producerId);
    if (firstOffset === undefined) return;
    if (!committed) this.#aborted.push({ producerId, firstOffset, lastOffset });
    this.#openSince.delete(producerId);
  }
}

/** By offsets, not by count: compaction removes records from a batch and keeps its sequence range. */
function lastSequenceOf(header: BatchHeader): number {
  return addToSequence(header.baseSequence, header.lastOffset - header.baseOffset);
}

function addToSequence(sequence: number, count: number): number {
  const sum = sequence + count;
  return sum > maxSequence ? sum - maxSequence - 1 : sum;
}

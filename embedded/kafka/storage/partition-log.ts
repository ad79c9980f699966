import { unlink } from 'node:fs/promises';
import type { Logger } from '../../../platform/logger.js';
import type { Clock } from '../clock.js';
import { deferred } from '../deferred.js';
import type { Deferred } from '../deferred.js';
import { ErrorCode } from '../protocol/error-codes.js';
import { endOffset, placeBatch, readHeader } from '../protocol/record-batch.js';
import type { BatchHeader } from '../protocol/record-batch.js';
import { encodeMarker } from '../protocol/records.js';
import { refusalOfBatch, stampAppendTime } from './batch-checks.js';
import { syncFolder } from './files.js';
import { keepDamaged } from './damage.js';
import { createSegment, dropCheckpoint, loadLog, repairSegment, saveCheckpoint } from './log-files.js';
import type { KnownLog } from './log-files.js';
import type { AbortedTransaction, ProducerStates } from './producer-states.js';
import { DamagedSegment } from './segment.js';
import type { Segment } from './segment.js';
import { TailCache } from './tail-cache.js';
import type { TailCacheBudget } from './tail-cache.js';
import type { LogConfig } from './topic-config.js';

/** Bytes between checkpoints: the maximum that a start scans and checks in a partition. */
const checkpointEveryBytes = 16 * 1024 * 1024;

export interface LogEnvironment {
  logger: Logger;
  clock: Clock;
  cacheBudget: TailCacheBudget;
}

export interface Appended {
  errorCode: number;
  /** -1 when refused. */
  baseOffset: number;
  /** The time set in the batch under LogAppendTime, else -1. */
  logAppendTime: number;
  /**
   * Resolves when the batch is on disk; rejects when the disk refuses it, and the batch is then not in the
   * log.
   */
  durable: Promise<void>;
}

export interface LogSlice {
  errorCode: number;
  batches: Buffer[];
  aborted: AbortedTransaction[];
}

interface PendingBatch {
  header: BatchHeader;
  bytes: Buffer;
}

/**
 * One partition: segments on disk, producer states, and the group commit. Appends get their offset at once
 * and are written together by one write and one fsync per round; appends that arrive during a round share the
 * next one. Readers see a batch only when it is on disk (the high watermark is the durable end).
 */
export class PartitionLog {
  readonly topic: string;
  readonly partition: number;
  readonly folder: string;
  config: LogConfig;
  /** The first offset that readers get. */
  logStart: number;
  segments: Segment[] = [];
  /** Everything below has been compacted since the start. */
  compactedUpTo = 0;
  producers: ProducerStates;
  /** The offset after the last durable one. */
  highWatermark = 0;
  #nextOffset = 0;
  readonly #environment: LogEnvironment;
  readonly #cache: TailCache;
  readonly #waiting = new Set<() => void>();
  #pending: PendingBatch[] = [];
  #round: Deferred<void> = deferred();
  #roundInProgress: Promise<void> | undefined;
  #running: Promise<void> | undefined;
  #segmentRepair: Promise<void> | undefined;
  #rollRequested = false;
  #failed = false;
  #closed = false;
  #uncheckpointedBytes = 0;

  private constructor(
    name: { topic: string; partition: number; folder: string },
    config: LogConfig,
    logStart: number,
    loaded: { segments: Segment[]; producers: ProducerStates },
    environment: LogEnvironment,
  ) {
    this.topic = name.topic;
    this.partition = name.partition;
    this.folder = name.folder;
    this.config = config;
    this.#environment = environment;
    this.#cache = new TailCache(environment.cacheBudget);
    this.producers = loaded.producers;
    this.#take(loaded);
    this.logStart = Math.max(logStart, this.segments[0]?.baseOffset ?? 0);
  }

  static async open(
    name: { topic: string; partition: number; folder: string },
    config: LogConfig,
    known: Omit<KnownLog, 'hasGaps'>,
    environment: LogEnvironment,
  ): Promise<PartitionLog> {
    const loaded = await loadLog(name.folder, { ...known, hasGaps: config.compact }, environment.logger);
    return new PartitionLog(name, config, known.start, loaded, environment);
  }

  /** The limit of read_committed readers: the first open transaction, else the high watermark. */
  get lastStableOffset(): number {
    return Math.min(this.producers.firstOpenOffset() ?? Infinity, this.highWatermark);
  }

  /** On disk, in bytes. */
  get size(): number {
    return this.segments.reduce((sum, { size }) => sum + size, 0);
  }

  /** The segment that takes the appends. */
  get active(): Segment {
    const active = this.segments.at(-1);
    if (active === undefined) throw new Error(`${this.folder} has no segment`);
    return active;
  }

  /** Appends one batch of a client, after all checks of the protocol. The buffer then belongs to the log. */
  append(batch: Buffer): Appended {
    const refusal = refusalOfBatch(batch, this.config);
    if (refusal !== ErrorCode.NONE) return refused(refusal);
    if (this.#failed && !this.#closed) this.#running ??= this.#reload();
    if (this.#failed || this.#closed) return refused(ErrorCode.KAFKA_STORAGE_ERROR);
    const header = readHeader(batch);
    const verdict = this.producers.check(header);
    if (verdict.kind === 'refuse') return refused(verdict.errorCode);
    if (verdict.kind === 'duplicate') {
      const { baseOffset } = verdict;
      const logAppendTime = this.config.logAppendTime ? verdict.timestamp : -1;
      return { errorCode: 0, baseOffset, logAppendTime, durable: this.#durable(baseOffset) };
    }
    const now = this.config.logAppendTime ? this.#environment.clock.now() : -1;
    if (this.config.logAppendTime) stampAppendTime(batch, now);
    return { ...this.#enqueue(batch, false), logAppendTime: now };
  }

  /** Ends a producer's transaction on this partition. Resolves when the marker is on disk. */
  async appendMarker(producerId: number, epoch: number, committed: boolean): Promise<void> {
    if (this.#failed && !this.#closed) await (this.#running ??= this.#reload());
    if (this.#failed || this.#closed) throw new Error(`${this.folder} cannot be written`);
    const marker = encodeMarker(producerId, epoch, committed, this.#environment.clock.now());
    await this.#enqueue(marker, committed).durable;
  }

  /**
   * Reads whole batches from the one that contains `offset` on.
   *
   * @param upTo - exclusive: the high watermark, or the last stable offset for read_committed.
   * @param maxBytes - a larger first batch is still served.
   */
  async read(offset: number, upTo: number, maxBytes: number): Promise<LogSlice> {
    if (offset < this.logStart || offset > this.highWatermark) {
      return { errorCode: ErrorCode.OFFSET_OUT_OF_RANGE, batches: [], aborted: [] };
    }
    if (offset >= upTo) return { errorCode: 0, batches: [], aborted: [] };
    const batches =
      this.#cache.read(offset, upTo, maxBytes) ??
      (await this.withRepair(() => this.#readFiles(offset, upTo, maxBytes)));
    const last = batches.at(-1);
    const end = last === undefined ? offset : Math.min(upTo, endOffset(last));
    return { errorCode: 0, batches, aborted: this.producers.abortedBetween(offset, end) };
  }

  /**
   * Calls `action` whenever the high watermark or the last stable offset may have moved, until the returned
   * function is called.
   */
  onAdvance(action: () => void): () => void {
    this.#waiting.add(action);
    return () => this.#waiting.delete(action);
  }

  /** Closes the active segment at the next round, so that retention and compaction can work on it. */
  async roll(): Promise<void> {
    if (this.active.size === 0) return;
    this.#rollRequested = true;
    await (this.#running ??= this.#flush());
  }

  /**
   * Replaces the closed segments `replaced` by `merged`, which contains their records: atomically for
   * readers, and so that a crash at any moment leaves one of the two.
   */
  async replaceSegments(replaced: readonly Segment[], merged: Segment): Promise<void> {
    const [first] = replaced;
    if (first === undefined) return;
    await this.#exclusively(async () => {
      // Repaired or dropped meanwhile.
      if (!replaced.every((segment) => this.segments.includes(segment))) return;
      // A checkpoint contains positions in the removed files.
      await dropCheckpoint(this.folder);
      await merged.moveTo(first.path);
      this.segments = this.segments.flatMap((segment) => {
        if (segment === first) return [merged];
        return replaced.includes(segment) ? [] : [segment];
      });
      for (const { path } of replaced.slice(1)) await unlink(path);
      await syncFolder(this.folder);
      await this.#checkpoint(this.producers.snapshot());
    });
  }

  /**
   * Runs an action on the files. If one turns out to be damaged, a copy of it is kept, its intact batches
   * replace it, and the action is repeated.
   */
  async withRepair<T>(work: () => Promise<T>): Promise<T> {
    for (let left = this.segments.length; ; left--) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof DamagedSegment) || left < 0) throw error;
        await (this.#segmentRepair ??= this.#repairSegment(error).finally(
          () => (this.#segmentRepair = undefined),
        ));
      }
    }
  }

  /** Waits for all appends, saves a checkpoint, releases the files. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting) wake();
    await this.#running;
    if (!this.#failed && this.#uncheckpointedBytes > 0) {
      await saveCheckpoint(this.folder, this.segments, this.producers.snapshot());
    }
    this.#cache.clear();
    this.active.release();
  }

  /** Runs `action` between two rounds of the group commit, when all appends are on disk. */
  async #exclusively(action: () => Promise<void>): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    this.#running = action().finally(() => {
      this.#running = this.#pending.length > 0 ? this.#flush() : undefined;
    });
    await this.#running;
  }

  async #repairSegment({ segment, message }: DamagedSegment): Promise<void> {
    // Only a closed segment can be replaced.
    while (segment === this.active) {
      if (this.#failed || this.#closed) throw new Error(`${message}, and the log cannot be written`);
      await this.roll();
    }
    if (!this.segments.includes(segment)) return;
    await keepDamaged({ path: segment.path, what: message }, this.#environment.logger);
    const repaired = await repairSegment(segment, this.folder, segment.lastOffset + 1);
    try {
      await this.replaceSegments([segment], repaired);
    } finally {
      repaired.release();
    }
  }

  async #readFiles(offset: number, upTo: number, maxBytes: number): Promise<Buffer[]> {
    for (;;) {
      // Looked up each time: retention or compaction may change the list while a file is read.
      const segment = this.segments.find(({ lastOffset }) => lastOffset >= offset);
      if (segment === undefined || segment.baseOffset >= upTo) return [];
      const bytes = await segment.read(offset, upTo, maxBytes);
      if (bytes.length > 0) return [bytes];
      if (segment === this.active || segment.lastOffset + 1 >= upTo) return [];
      offset = segment.lastOffset + 1;
    }
  }

  #enqueue(batch: Buffer, committed: boolean): Appended {
    placeBatch(batch, this.#nextOffset);
    const header = readHeader(batch);
    this.#nextOffset = header.lastOffset + 1;
    this.producers.apply(header, committed);
    this.#pending.push({ header, bytes: batch });
    const durable = this.#round.promise;
    this.#running ??= this.#flush();
    return { errorCode: 0, baseOffset: header.baseOffset, logAppendTime: -1, durable };
  }

  #durable(offset: number): Promise<void> {
    if (offset < this.highWatermark) return Promise.resolve();
    const first = this.#pending[0];
    if (first !== undefined && offset >= first.header.baseOffset) return this.#round.promise;
    return this.#roundInProgress ?? Promise.resolve();
  }

  async #flush(): Promise<void> {
    // Lets all appends of this tick share the first round.
    await Promise.resolve();
    try {
      while (this.#pending.length > 0 || this.#rollRequested) {
        const batches = this.#pending;
        const round = this.#round;
        this.#pending = [];
        this.#round = deferred();
        this.#roundInProgress = round.promise;
        const checkpointDue = this.#uncheckpointedBytes > checkpointEveryBytes || this.#rollRequested;
        // Taken before the write: appends that arrive during it are not in the files that the checkpoint
        // describes.
        const producers = checkpointDue ? structuredClone(this.producers.snapshot()) : undefined;
        try {
          await this.#write(batches);
        } catch (error) {
          round.reject(error);
          throw error;
        }
        round.resolve();
        for (const wake of this.#waiting) wake();
        if (producers !== undefined) await this.#checkpoint(producers);
      }
    } catch (error) {
      await this.#fail(error);
    } finally {
      this.#roundInProgress = undefined;
      this.#running = undefined;
    }
  }

  async #write(batches: readonly PendingBatch[]): Promise<void> {
    if (this.#rollRequested && this.active.size > 0)
      await this.#startSegment(batches[0]?.header.baseOffset ?? this.#nextOffset);
    this.#rollRequested = false;
    let from = 0;
    while (from < batches.length) {
      let bytes = this.active.size;
      let to = from;
      for (; to < batches.length; to++) {
        const size = batches[to]?.bytes.length ?? 0;
        if (bytes > 0 && bytes + size > this.config.segmentBytes) break;
        bytes += size;
      }
      const fitting = batches.slice(from, to);
      if (fitting.length > 0) await this.#writeToActive(fitting);
      from = to;
      const next = batches[from];
      if (next !== undefined) await this.#startSegment(next.header.baseOffset);
    }
  }

  async #writeToActive(batches: readonly PendingBatch[]): Promise<void> {
    await this.active.append(batches.map(({ bytes }) => bytes));
    for (const { header, bytes } of batches) {
      this.active.note(header);
      this.#cache.add(header, bytes);
      this.#uncheckpointedBytes += bytes.length;
      this.highWatermark = header.lastOffset + 1;
    }
  }

  async #startSegment(baseOffset: number): Promise<void> {
    const previous = this.active;
    const segment = await createSegment(this.folder, baseOffset);
    this.segments = [...this.segments, segment];
    previous.release();
  }

  async #checkpoint(producers: ReturnType<ProducerStates['snapshot']>): Promise<void> {
    this.#uncheckpointedBytes = 0;
    try {
      await saveCheckpoint(this.folder, this.segments, producers);
    } catch (error) {
      this.#environment.logger.warn(
        { err: error, folder: this.folder },
        'Cannot save a checkpoint; the next start scans more',
      );
    }
  }

  /** After a failed write: discards batches that are not durable, for readers and for producer states. */
  async #fail(error: unknown): Promise<void> {
    this.#failed = true;
    this.#environment.logger.error(
      { err: error, folder: this.folder },
      'Cannot write a log; producers get a retriable error',
    );
    this.#round.reject(error);
    this.#round = deferred();
    this.#pending = [];
    await this.#reload();
  }

  async #reload(): Promise<void> {
    try {
      // After a failed fsync the system may return bytes that the disk does not have, and never will.
      await this.active.truncateToSize();
      const known = {
        start: this.logStart,
        end: this.highWatermark,
        isNew: false,
        hasGaps: this.config.compact,
      };
      const loaded = await loadLog(this.folder, known, this.#environment.logger);
      const previous = this.active;
      this.#cache.clear();
      this.producers = loaded.producers;
      this.#take(loaded);
      previous.release();
      this.#failed = false;
      for (const wake of this.#waiting) wake();
    } catch (error) {
      this.#environment.logger.error({ err: error, folder: this.folder }, 'The log still cannot be written');
    } finally {
      this.#running = undefined;
    }
  }

  #take(loaded: { segments: Segment[]; producers: ProducerStates }): void {
    this.segments = loaded.segments;
    this.highWatermark = this.active.lastOffset + 1;
    this.#nextOffset = this.highWatermark;
  }
}

function refused(errorCode: number): Appended {
  return { errorCode, baseOffset: -1, logAppendTime: -1, durable: Promise.resolve() };
}

import type { Kafka } from 'kafkajs';
import { type MillraceError, messageOf } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import { type ConsumerSpan, endAfter } from '../platform/tracing/spans.js';
import { backoff } from '../platform/backoff.js';
import { GroupConsumer } from './group-consumer.js';
import type { Batch, GroupOptions } from './group-consumer.js';
import { concernsRecord, isFenced, mayPass, Rejoin, toMillraceError } from './kafka-errors.js';
import { sizeOf, toStreamRecord } from './records.js';
import type { NewRecord, StreamRecord } from './records.js';
import { spansOf, traceRecords } from './traced-records.js';
import { type CommittedPosition, openSession, type TransactionSession } from './transactional-producer.js';

export interface ExactlyOnceProcessorOptions extends GroupOptions {
  /**
   * Turns records (of one partition, in order) into output records. May be called again with the same
   * records, and for the next ones before these are committed, so it must have no external effects. When it
   * throws, the same records are passed again after a pause, for as long as it takes, while other partitions
   * continue: an invalid record must become an output (a dead letter).
   */
  process(records: StreamRecord[]): Promise<NewRecord[]>;
  /**
   * Shrinks an output that is larger than `maxRecordBytes`, so that the broker accepts it: a refused one
   * blocks its partition. Default: outputs are written unchanged.
   */
  shrink?: (record: NewRecord) => NewRecord;
  /**
   * Returns the replacement of a record's outputs that the log refuses (too large after all, or invalid): a
   * dead letter. Without it, or when the replacement is refused repeatedly, the partition is blocked.
   *
   * @param refusals - the number of earlier refusals of these outputs: 0, 1 or 2. Each replacement must be
   *   smaller.
   */
  instead?: (record: StreamRecord, reason: MillraceError, refusals: number) => NewRecord;
  /** Default 1,000,000: Apache Kafka refuses batches of more than 1 MiB. */
  maxRecordBytes?: number;
  /** Records per call, and per transaction. Default 1,000. */
  maxBatch?: number;
  /** The broker aborts longer transactions. A transaction begins after `process`. Default 60 s. */
  transactionTimeoutMs?: number;
}

/** Records of one transaction, and the position after them. */
interface Chunk {
  records: StreamRecord[];
  next: number;
  /** The outputs of all of them, if their processing has begun: for one attempt. */
  outputs?: Promise<NewRecord[]>;
}

/** Maximum replacements of refused outputs. */
const maxRefusals = 2;
/** Number of immediate retries of records before their partition yields to others. */
const patientAttempts = 3;

/**
 * BatchConsumer, transform, produce, exactly once: the outputs and the position in the input are one Kafka
 * transaction.
 *
 * Each input partition has its own transactional id, which a new owner of the partition takes over. kafkajs
 * commits offsets without the group's generation, so only this takeover fences a former owner. The new owner
 * first takes over (which ends an open transaction), then reads the committed offset, then drops earlier
 * records.
 */
export class ExactlyOnceProcessor extends GroupConsumer<ExactlyOnceProcessorOptions> {
  readonly #producers: Kafka;
  readonly #committed: CommittedPosition;
  #sessions = new Map<string, TransactionSession>();

  /**
   * @param consumers - kafkajs' object for the consumer, a different one from `producers`: objects that share
   *   one note an offset as committed when it joins a transaction, and would skip its records if that is
   *   aborted.
   */
  constructor(
    { consumers, producers }: { consumers: Kafka; producers: Kafka },
    logger: Logger,
    options: ExactlyOnceProcessorOptions,
    committed: CommittedPosition,
  ) {
    super(consumers, logger, options);
    this.#producers = producers;
    this.#committed = committed;
  }

  override async stop(): Promise<void> {
    await super.stop();
    await Promise.all([...this.#sessions.values()].map((session) => session.close()));
    this.#sessions.clear();
  }

  protected override onJoin(): void {
    for (const session of this.#sessions.values()) void session.close();
    this.#sessions = new Map();
  }

  protected override async onBatch(batch: Batch): Promise<void> {
    const { messages } = batch.payload.batch;
    const maxBatch = this.options.maxBatch ?? 1_000;
    let ahead: Chunk | undefined;
    for (let from = 0; from < messages.length; from += maxBatch) {
      batch.check();
      const chunk = ahead ?? this.#chunk(batch, from, maxBatch);
      ahead = undefined;
      // The next records are processed while these are committed.
      const onCommit = (): void => {
        if (ahead !== undefined || from + maxBatch >= messages.length) return;
        ahead = this.#chunk(batch, from + maxBatch, maxBatch);
        ahead.outputs = this.#process(ahead.records);
        // A failure counts as their first attempt, when it is their turn.
        ahead.outputs.catch(() => undefined);
      };
      if (!(await this.#processOnce(batch, chunk, onCommit))) return;
      batch.payload.resolveOffset(String(chunk.records.at(-1)?.offset));
    }
  }

  #chunk(batch: Batch, from: number, maxBatch: number): Chunk {
    const { topic, partition, messages } = batch.payload.batch;
    const { groupId } = this.options;
    const records = messages
      .slice(from, from + maxBatch)
      .map((message) => toStreamRecord(topic, partition, message));
    const isLast = from + maxBatch >= messages.length;
    const last = isLast ? Number(batch.payload.batch.lastOffset()) : (records.at(-1)?.offset ?? 0);
    return { records: traceRecords(records, { groupId, mayBegin: true }), next: last + 1 };
  }

  /**
   * Returns whether these records are processed and committed: else the partition pauses. Throws when the
   * partition is lost.
   */
  async #processOnce(batch: Batch, chunk: Chunk, onCommit: () => void): Promise<boolean> {
    const spans: ConsumerSpan[] = [];
    return endAfter(this.#untilCommitted(batch, chunk, spans, onCommit), (error) =>
      spans.forEach((span) => span.end(error)),
    );
  }

  /**
   * @param spans - receives those of the records that were not committed before.
   * @param onCommit - called when a commit has begun.
   */
  async #untilCommitted(
    batch: Batch,
    chunk: Chunk,
    spans: ConsumerSpan[],
    onCommit?: () => void,
  ): Promise<boolean> {
    const { topic, partition } = batch.payload.batch;
    const { records, next } = chunk;
    const refusals: MillraceError[] = [];
    for (let attempt = this.failuresOf(topic, partition); ; attempt++) {
      try {
        const session = await this.#session(topic, partition);
        const fresh = records.filter((record) => record.offset >= session.position);
        if (spans.length === 0) spans.push(...spansOf(fresh));
        if (next > session.position) {
          const outputs = await this.#outputs(chunk, fresh, refusals);
          batch.check();
          const committing = session.commit(
            outputs.map((record) => this.#fit(record)),
            next,
          );
          onCommit?.();
          await committing;
        }
        this.release({ topic, partition });
        this.report();
        return true;
      } catch (error) {
        this.#dropSession(topic, partition);
        batch.check();
        if (isFenced(error)) throw new Rejoin(`${topic}/${partition} has another owner: ${messageOf(error)}`);
        for (const span of spans) span.retry(error);
        if (concernsRecord(error) && this.options.instead && refusals.length <= maxRefusals) {
          if (records.length > 1) return this.#inHalves(batch, chunk, spans);
          const place = `${topic}/${partition}, offset ${records[0]?.offset}`;
          refusals.push(toMillraceError(error, `Writing what follows from ${place}`));
          attempt--;
          continue;
        }
        if (!(await this.#goesOn(error, attempt, batch, records))) return false;
        batch.check();
      }
    }
  }

  /** Finds the record whose outputs the log refuses. */
  async #inHalves(batch: Batch, { records, next }: Chunk, spans: ConsumerSpan[]): Promise<boolean> {
    const middle = Math.ceil(records.length / 2);
    const [first, second] = [records.slice(0, middle), records.slice(middle)];
    const between = second[0]?.offset ?? next;
    if (!(await this.#untilCommitted(batch, { records: first, next: between }, spans))) return false;
    return this.#untilCommitted(batch, { records: second, next }, spans);
  }

  async #outputs(
    chunk: Chunk,
    fresh: StreamRecord[],
    refusals: readonly MillraceError[],
  ): Promise<NewRecord[]> {
    const { outputs: begun } = chunk;
    delete chunk.outputs;
    const [reason] = refusals;
    if (reason !== undefined)
      return fresh.flatMap((record) => this.options.instead?.(record, reason, refusals.length - 1) ?? []);
    if (begun !== undefined && fresh.length === chunk.records.length) return begun;
    return fresh.length > 0 ? this.#process(fresh) : [];
  }

  /** Rejects when it throws. */
  async #process(records: StreamRecord[]): Promise<NewRecord[]> {
    return this.options.process(records);
  }

  #fit(record: NewRecord): NewRecord {
    const { shrink, maxRecordBytes = 1_000_000 } = this.options;
    return shrink && sizeOf(record) > maxRecordBytes ? shrink(record) : record;
  }

  /**
   * After a failure: waits, and returns whether to retry now. A longer failure yields to other partitions,
   * whose records the consumer fetches together with these.
   */
  async #goesOn(error: unknown, attempt: number, batch: Batch, records: StreamRecord[]): Promise<boolean> {
    const { topic, partition } = batch.payload.batch;
    const isTransient = mayPass(error);
    const details = {
      topic,
      partition,
      from: records[0]?.offset,
      records: records.length,
      attempt,
      err: error,
    };
    if (isTransient) this.logger.warn(details, 'Processing failed; the same records are tried again');
    else
      this.logger.error(details, 'Processing fails for good; the partition waits until the cause is fixed');
    const limits = isTransient ? { firstMs: 100, maxMs: 5_000 } : { firstMs: 1_000, maxMs: 30_000 };
    if (isTransient && attempt < patientAttempts) {
      this.report(error);
      await backoff(attempt, { ...limits, signal: batch.signal });
      return true;
    }
    this.hold({ topic, partition }, error, limits);
    return false;
  }

  async #session(topic: string, partition: number): Promise<TransactionSession> {
    const key = `${topic}/${partition}`;
    const known = this.#sessions.get(key);
    if (known) return known;
    const { groupId, transactionTimeoutMs = 60_000 } = this.options;
    const session = await openSession(
      this.#producers,
      { groupId, topic, partition, transactionTimeoutMs },
      this.#committed,
    );
    this.#sessions.set(key, session);
    return session;
  }

  #dropSession(topic: string, partition: number): void {
    const key = `${topic}/${partition}`;
    const session = this.#sessions.get(key);
    this.#sessions.delete(key);
    void session?.close();
  }
}

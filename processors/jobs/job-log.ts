import type { RegisteredContract } from '../pipelines/open-pipelines.js';
import { asDeadLetterReason } from '../dead-letters/reasons.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import { systemTopics } from '../../streams/topics.js';
import type { Follower } from '../../streams/topic-tail.js';
import { loadContract } from '../../schemas/contracts.js';
import type { Logger } from '../../platform/logger.js';
import { isFinished, isValid, type Job } from './job.js';

/** Maximum number of finished jobs in memory; older ones are unknown. */
const maxFinished = 10_000;

/** The state of every job, from its events on `millrace.jobs`. */
export class JobLog {
  readonly #contract: RegisteredContract;
  readonly #serde: Serde;
  readonly #producer: LogProducer;
  readonly #jobs = new Map<string, { job: Job; seenAt: number }>();
  readonly #listeners = new Map<string, Set<(job: Job) => void>>();
  readonly #logger: Logger;
  #follower: Follower | undefined;

  private constructor(
    contract: RegisteredContract,
    { serde, producer, logger }: { serde: Serde; producer: LogProducer; logger: Logger },
  ) {
    this.#contract = contract;
    this.#serde = serde;
    this.#producer = producer;
    this.#logger = logger;
  }

  /** @param producer - closed by its owner. */
  static async open(options: {
    streams: Streams;
    serde: Serde;
    producer: LogProducer;
    logger: Logger;
  }): Promise<JobLog> {
    const contract = loadContract('shared', 'job-event');
    const schemaId = await options.serde.register(systemTopics.jobs, contract.type);
    const log = new JobLog({ ...contract, schemaId }, options);
    log.#follower = await options.streams.follow({
      topics: [systemTopics.jobs],
      handle: (records) => log.#read(records),
    });
    return log;
  }

  async close(): Promise<void> {
    await this.#follower?.stop();
  }

  /**
   * Waits until everything written to the log before is known. @throws MillraceError `LOG_UNAVAILABLE`,
   * retriable.
   */
  async whenCaughtUp(timeoutMs: number): Promise<void> {
    await this.#follower?.whenCaughtUp({ timeoutMs });
  }

  get(jobId: string): Job | undefined {
    return this.#jobs.get(jobId)?.job;
  }

  /** Returns a job that another process may have just created. @throws as {@link whenCaughtUp}. */
  async find(jobId: string): Promise<Job | undefined> {
    if (!this.#jobs.has(jobId)) await this.whenCaughtUp(2_000);
    return this.get(jobId);
  }

  /** Returns every known job, newest first. */
  list(): Job[] {
    return [...this.#jobs.values()]
      .map(({ job }) => job)
      .toSorted((a, b) => b.created_at - a.created_at || b.job_id.localeCompare(a.job_id));
  }

  unfinished(): Job[] {
    return this.list().filter((job) => !isFinished(job));
  }

  /** Returns the milliseconds since this process read the last event of a job. */
  sinceHeartbeatMs(jobId: string): number {
    const known = this.#jobs.get(jobId);
    return known === undefined ? 0 : performance.now() - known.seenAt;
  }

  /** Calls back with each new state of a job, until the returned function is called. */
  watch(jobId: string, listener: (job: Job) => void): () => void {
    const listeners = this.#listeners.get(jobId) ?? new Set();
    this.#listeners.set(jobId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(jobId);
    };
  }

  /** Writes a new job to the log. @throws MillraceError as {@link LogProducer.send}. */
  async accept(job: Job, timeoutMs: number): Promise<void> {
    await this.#producer.send([this.toRecord(job)], { timeoutMs });
    this.apply(job);
  }

  /**
   * Removes jobs that were finished before `time` (milliseconds since 1970) from the log, which keeps the
   * newest event of each other job. @throws MillraceError as {@link LogProducer.send}.
   */
  async removeFinishedBefore(time: number): Promise<void> {
    const old = this.list().filter((job) => isFinished(job) && job.at < time);
    await this.#producer.send(
      old.map(({ job_id }) => ({ topic: systemTopics.jobs, key: job_id, value: null })),
    );
    for (const { job_id } of old) this.#jobs.delete(job_id);
  }

  /** Returns a state as a record, to be written in one transaction with its causes. */
  toRecord(job: Job): NewRecord {
    const { schemaId, type } = this.#contract;
    return { topic: systemTopics.jobs, key: job.job_id, value: this.#serde.encode(schemaId, type, job) };
  }

  /** Applies a state that is on the log, before it is read back. */
  apply(job: Job): void {
    const known = this.#jobs.get(job.job_id);
    if (known !== undefined && (job.state === 'accepted' || isFinished(known.job))) return;
    // This process applies its own events before it reads them back. `at` grows with every event of a job.
    if (known !== undefined && job.at <= known.job.at) return;
    this.#jobs.set(job.job_id, { job, seenAt: performance.now() });
    if (isFinished(job)) this.#forget();
    for (const listener of this.#listeners.get(job.job_id) ?? []) listener(job);
  }

  async #read(records: readonly StreamRecord[]): Promise<void> {
    for (const record of records) {
      if (record.value === null) {
        this.#jobs.delete(record.key?.toString() ?? '');
        continue;
      }
      try {
        const job = (await this.#serde.decode(record.value, this.#contract.type)) as Job;
        if (isValid(job)) this.apply(job);
        else
          this.#logger.warn(
            { offset: record.offset },
            'an event of a job has a wrong id or time; it is passed over',
          );
      } catch (error) {
        const reason = asDeadLetterReason(error);
        this.#logger.warn({ err: reason, offset: record.offset }, 'an event of a job can’t be read');
      }
    }
  }

  #forget(): void {
    let finished = 0;
    for (const { job } of this.#jobs.values()) if (isFinished(job)) finished++;
    for (const [id, { job }] of this.#jobs) {
      if (finished <= maxFinished) return;
      if (!isFinished(job)) continue;
      this.#jobs.delete(id);
      finished--;
    }
  }
}

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

/** Finished jobs that are remembered; of older ones nothing is told any more. */
const maxFinished = 10_000;

/** The state of every job, as its events on `millrace.jobs` have it. */
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

  /** @param producer - stays its owner's to close. */
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

  /** Waits until all that was on the log before is known. @throws MillraceError `LOG_UNAVAILABLE`, retriable. */
  async whenCaughtUp(timeoutMs: number): Promise<void> {
    await this.#follower?.whenCaughtUp({ timeoutMs });
  }

  get(jobId: string): Job | undefined {
    return this.#jobs.get(jobId)?.job;
  }

  /** A job that another process may have made a moment ago. @throws as {@link whenCaughtUp}. */
  async find(jobId: string): Promise<Job | undefined> {
    if (!this.#jobs.has(jobId)) await this.whenCaughtUp(2_000);
    return this.get(jobId);
  }

  /** Every job that is known, newest first. */
  list(): Job[] {
    return [...this.#jobs.values()]
      .map(({ job }) => job)
      .toSorted((a, b) => b.created_at - a.created_at || b.job_id.localeCompare(a.job_id));
  }

  unfinished(): Job[] {
    return this.list().filter((job) => !isFinished(job));
  }

  /** Milliseconds since this process read the last event of a job. */
  sinceHeartbeatMs(jobId: string): number {
    const known = this.#jobs.get(jobId);
    return known === undefined ? 0 : performance.now() - known.seenAt;
  }

  /** Calls back with each new state of a job, until the function that is returned is called. */
  watch(jobId: string, listener: (job: Job) => void): () => void {
    const listeners = this.#listeners.get(jobId) ?? new Set();
    this.#listeners.set(jobId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(jobId);
    };
  }

  /** Puts a new job on the log. @throws MillraceError as {@link LogProducer.send}. */
  async accept(job: Job, timeoutMs: number): Promise<void> {
    await this.#producer.send([this.toRecord(job)], { timeoutMs });
    this.apply(job);
  }

  /**
   * Takes jobs that were finished before `time` (milliseconds since 1970) off the log, which keeps the newest event of each
   * other job. @throws MillraceError as {@link LogProducer.send}.
   */
  async removeFinishedBefore(time: number): Promise<void> {
    const old = this.list().filter((job) => isFinished(job) && job.at < time);
    await this.#producer.send(
      old.map(({ job_id }) => ({ topic: systemTopics.jobs, key: job_id, value: null })),
    );
    for (const { job_id } of old) this.#jobs.delete(job_id);
  }

  /** A state as a record, to be written in one transaction with what led to it. */
  toRecord(job: Job): NewRecord {
    const { schemaId, type } = this.#contract;
    return { topic: systemTopics.jobs, key: job.job_id, value: this.#serde.encode(schemaId, type, job) };
  }

  /** Notes a state that is on the log, before it comes back from there. */
  apply(job: Job): void {
    const known = this.#jobs.get(job.job_id);
    if (known !== undefined && (job.state === 'accepted' || isFinished(known.job))) return;
    // What this process wrote comes back later than it was noted. `at` grows with every event of a job.
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

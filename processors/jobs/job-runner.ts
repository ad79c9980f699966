import { randomUUID } from 'node:crypto';
import { backoff, pause } from '../../platform/backoff.js';
import { MillraceError } from '../../platform/errors.js';
import { Semaphore } from '../../platform/semaphore.js';
import type { Pipelines } from '../pipelines/pipeline-set.js';
import { isFinished, type Job } from './job.js';
import { removeOldJobs, type RetentionOptions } from './job-retention.js';
import { JobRun, type JobRunOptions } from './job-run.js';

/** Maximum number of concurrent jobs. A small job need not wait for a large one. */
const maxConcurrentJobs = 2;
const checkMs = 1_000;
const removalMs = 3_600_000;

export interface JobRunnerOptions extends Omit<JobRunOptions, 'runner' | 'signal'>, RetentionOptions {
  /**
   * Time without a heartbeat after which a job is taken over. 0: at once, when no other process can run it.
   */
  heartbeatTimeoutMs: number;
  /** A job of a pipeline that is down waits. */
  pipelines: Pick<Pipelines, 'get' | 'has' | 'down'>;
}

/** Runs jobs: those enqueued here, and those that another process has left unfinished. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #runner = randomUUID();
  readonly #stopping = new AbortController();
  readonly #slots = new Semaphore(maxConcurrentJobs);
  /** Jobs that run or wait here, by id. */
  readonly #queue = new Map<string, Promise<void>>();
  /** Ids of jobs whose pipeline is unknown here. */
  readonly #reported = new Set<string>();
  #watching: Promise<void> | undefined;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Starts to look for unfinished jobs without a heartbeat, and for old files. */
  start(): void {
    this.#watching ??= this.#watch();
  }

  /** Runs a job as soon as there is capacity. */
  enqueue(jobId: string): void {
    if (this.#queue.has(jobId) || this.#stopping.signal.aborted) return;
    const run = this.#slots.run(() => this.#run(jobId));
    this.#queue.set(
      jobId,
      run.finally(() => this.#queue.delete(jobId)),
    );
  }

  /** Stops, and leaves the jobs in their present state; the next process continues them. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#watching;
    await Promise.all(this.#queue.values());
  }

  /** Works on a job until it is finished or another process has it, through any outages. */
  async #run(jobId: string): Promise<void> {
    const { log, pipelines } = this.#options;
    const { signal } = this.#stopping;
    const logger = this.#options.logger.child({ job: jobId });
    for (let attempt = 0; !signal.aborted; attempt++) {
      const job = log.get(jobId);
      if (job === undefined || isFinished(job) || this.#isRunningElsewhere(job)) return;
      const pipeline = pipelines.get(job.pipeline);
      if (pipeline === undefined) return;
      try {
        await JobRun.run(pipeline, jobId, { ...this.#options, logger, runner: this.#runner, signal });
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof MillraceError && error.code === 'LOG_FENCED') {
          logger.info('another process has taken the job over');
          return;
        }
        logger.warn({ err: error, attempt }, 'a job can’t go on now; trying again');
        await backoff(attempt, { firstMs: 200, signal });
      }
    }
  }

  /** Logs once: the job is checked every second, and the pipeline may come back. */
  #reportMissingPipeline({ job_id: job, pipeline }: Job): void {
    if (this.#reported.has(job)) return;
    this.#reported.add(job);
    const isDown = this.#options.pipelines.down.has(pipeline);
    this.#options.logger.error(
      { job, pipeline },
      isDown
        ? 'a job waits: its pipeline is down'
        : 'a job can’t go on: this process has no such pipeline. Its file is removed after FILES_RETENTION_DAYS',
    );
  }

  /** The job may have been taken over while it waited here. */
  #isRunningElsewhere({ job_id, runner }: Job): boolean {
    const { log, heartbeatTimeoutMs } = this.#options;
    return runner !== null && runner !== this.#runner && log.sinceHeartbeatMs(job_id) < heartbeatTimeoutMs;
  }

  async #watch(): Promise<void> {
    const { log, pipelines, heartbeatTimeoutMs, logger } = this.#options;
    const { signal } = this.#stopping;
    let caughtUp = false;
    let removedAt = Number.NEGATIVE_INFINITY;
    while (!signal.aborted) {
      try {
        if (!caughtUp) await log.whenCaughtUp(checkMs);
        caughtUp = true;
        const unfinished = log.unfinished();
        for (const job of unfinished) {
          if (!pipelines.has(job.pipeline)) this.#reportMissingPipeline(job);
          else if (log.sinceHeartbeatMs(job.job_id) >= heartbeatTimeoutMs) this.enqueue(job.job_id);
        }
        if (performance.now() - removedAt > removalMs) {
          removedAt = performance.now();
          await removeOldJobs(this.#options);
        }
      } catch (error) {
        logger.warn({ err: error }, 'could not look for unfinished jobs');
      }
      await pause(checkMs, signal);
    }
  }
}

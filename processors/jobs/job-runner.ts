import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../platform/errors.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { isFinished, type Job } from './job.js';
import { JobRun, type JobRunOptions } from './job-run.js';

/** A small job need not wait for a large one. */
const maxConcurrentJobs = 2;
const checkMs = 1_000;
const minPauseMs = 200;
const maxPauseMs = 5_000;
const sweepMs = 3_600_000;
/** A file that belongs to no job after so long was left by a request that failed at the log. */
const unclaimedMs = 3_600_000;

export interface JobRunnerOptions extends Omit<JobRunOptions, 'runner' | 'signal'> {
  pipelines: ReadonlyMap<string, OpenPipeline>;
  /** A job without a heartbeat for so long is taken over. 0: at once, when no other process can run it. */
  heartbeatTimeoutMs: number;
  /** How long files of finished jobs are kept. */
  retentionMs: number;
}

/** Runs jobs: those that are enqueued here, and those that another process has left unfinished. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #runner = randomUUID();
  readonly #stopping = new AbortController();
  /** Ids of jobs that are at work here, or wait to be. */
  readonly #queue = new Map<string, Promise<void> | undefined>();
  /** Ids of jobs whose pipeline is not here. */
  readonly #reported = new Set<string>();
  #watching: Promise<void> | undefined;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Looks for unfinished jobs without a heartbeat, and for old files, from now on. */
  start(): void {
    this.#watching ??= this.#watch();
  }

  /** Works on a job as soon as another one's end leaves room. */
  enqueue(jobId: string): void {
    if (this.#queue.has(jobId) || this.#stopping.signal.aborted) return;
    this.#queue.set(jobId, undefined);
    this.#startQueued();
  }

  /** Leaves the jobs in their present state; the next process goes on. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#watching;
    await Promise.all([...this.#queue.values()].filter((run) => run !== undefined));
  }

  #startQueued(): void {
    const running = [...this.#queue.values()].filter((run) => run !== undefined).length;
    const waiting = [...this.#queue].filter(([, run]) => run === undefined).map(([id]) => id);
    for (const jobId of waiting.slice(0, Math.max(0, maxConcurrentJobs - running))) {
      const run = this.#run(jobId).finally(() => {
        this.#queue.delete(jobId);
        if (!this.#stopping.signal.aborted) this.#startQueued();
      });
      this.#queue.set(jobId, run);
    }
  }

  /** Works on a job until it is finished or another process has it, through whatever outages. */
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
        const pauseMs = Math.min(minPauseMs * 2 ** attempt, maxPauseMs);
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** Once: it is looked at every second, and the pipeline may come back. */
  #reportMissingPipeline({ job_id: job, pipeline }: Job): void {
    if (this.#reported.has(job)) return;
    this.#reported.add(job);
    this.#options.logger.error(
      { job, pipeline },
      'a job can’t go on: this process has no such pipeline. Its file is removed after FILES_RETENTION_DAYS',
    );
  }

  /** How long a folder is kept since it was last changed. */
  #keptMs(jobId: string | undefined): number {
    const { log, pipelines, retentionMs } = this.#options;
    if (jobId === undefined) return retentionMs;
    const job = log.get(jobId);
    if (job === undefined) return Math.min(unclaimedMs, retentionMs);
    return isFinished(job) || !pipelines.has(job.pipeline) ? retentionMs : Number.POSITIVE_INFINITY;
  }

  /** It may have been taken over while it waited here. */
  #isRunningElsewhere({ job_id, runner }: Job): boolean {
    const { log, heartbeatTimeoutMs } = this.#options;
    return runner !== null && runner !== this.#runner && log.sinceHeartbeatMs(job_id) < heartbeatTimeoutMs;
  }

  async #watch(): Promise<void> {
    const { log, files, pipelines, heartbeatTimeoutMs, retentionMs, logger } = this.#options;
    const { signal } = this.#stopping;
    let caughtUp = false;
    let sweptAt = Number.NEGATIVE_INFINITY;
    while (!signal.aborted) {
      try {
        if (!caughtUp) await log.whenCaughtUp(checkMs);
        caughtUp = true;
        const unfinished = log.unfinished();
        for (const job of unfinished) {
          if (!pipelines.has(job.pipeline)) this.#reportMissingPipeline(job);
          else if (log.sinceHeartbeatMs(job.job_id) >= heartbeatTimeoutMs) this.enqueue(job.job_id);
        }
        if (performance.now() - sweptAt > sweepMs) {
          sweptAt = performance.now();
          await files.sweep((jobId) => this.#keptMs(jobId));
          await log.removeFinishedBefore(Date.now() - 2 * retentionMs);
        }
      } catch (error) {
        logger.warn({ err: error }, 'could not look for unfinished jobs');
      }
      await sleep(checkMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

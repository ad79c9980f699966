import { setTimeout as sleep } from 'node:timers/promises';
import type { ClickHouseClient } from '@clickhouse/client';
import { countAnswers, countFailures } from '../../analytics/job-queries.js';
import { isErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { Mutex } from '../../platform/mutex.js';
import { timed, traces, type Work } from '../../platform/tracing/traces.js';
import type { NewRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import type { TransactionalProducer } from '../../streams/transactional-producer.js';
import { eventRecord } from '../events/envelope.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { InvalidEvent } from '../../schemas/event-schema.js';
import { fileFormats } from './formats/detect-format.js';
import {
  type FileFormat,
  fileInvalid,
  isFileSystemError,
  type InputFile,
  type InputRow,
} from './formats/file-format.js';
import { inBatches, isFinished, type Job, maxJobRows, rowEventId } from './job.js';
import type { JobFiles } from './job-files.js';
import type { JobLog } from './job-log.js';
import { addedColumns, readOutcomes, type RowOutcome, toAdded } from './job-result.js';
import { checkColumns, type DecimalColumns, findDecimalColumns, toEvent } from './row-event.js';

/** CloudEvents source of the rows’ events. */
const source = 'millrace/file';
/** Rows whose events are one transaction. */
const rowsPerCommit = 1_000;
/** A job that says nothing for longer is taken for an orphan some time later. */
const signOfLifeMs = 1_000;
const shortestPollMs = 20;
const longestPollMs = 500;
/** Dead letters are looked for only when predictions stop coming: their table is not ordered by event. */
const stallMs = 300;

export interface RunJobOptions {
  streams: Streams;
  serde: Serde;
  client: ClickHouseClient;
  log: JobLog;
  files: JobFiles;
  /** Names this process in the job's events. */
  runner: string;
  metrics: Metrics;
  logger: Logger;
  signal: AbortSignal;
}

type Change = Partial<Omit<Job, 'job_id' | 'at' | 'runner'>>;

/**
 * Brings one job from where it stands to its end. All that it writes to the log it writes as the one holder of the job's
 * transactional id, events of rows together with the number of rows done: so whoever goes on after a crash knows which
 * rows are on the log, and who was taken for dead can write no more.
 */
export class JobRun {
  readonly #options: RunJobOptions;
  readonly #pipeline: OpenPipeline;
  readonly #producer: TransactionalProducer;
  readonly #work: Work | undefined;
  #job: Job;
  #committedAt = performance.now();
  readonly #commits = new Mutex();
  #decimals: DecimalColumns = new Set();

  private constructor(
    options: RunJobOptions,
    pipeline: OpenPipeline,
    producer: TransactionalProducer,
    job: Job,
  ) {
    this.#options = options;
    this.#pipeline = pipeline;
    this.#producer = producer;
    this.#job = job;
    this.#work = traces()?.begin(`score file ${pipeline.name}`, { 'millrace.job.id': job.job_id });
  }

  /**
   * Returns when the job is finished.
   *
   * @throws MillraceError: `LOG_FENCED` when another process has taken the job over, `JOB_FILE_MISSING`; retriable, to be
   *   called again: what log or ClickHouse can't do now, or that the signal aborted. What the file system throws.
   */
  static async run(pipeline: OpenPipeline, jobId: string, options: RunJobOptions): Promise<void> {
    const producer = await options.streams.createTransactionalProducer(`millrace-job-${jobId}`);
    try {
      // Nobody else can write to the job any more: what the log has of it now is how it stands.
      await options.log.whenCaughtUp(30_000);
      const job = options.log.get(jobId);
      if (job === undefined || isFinished(job)) return;
      await new JobRun(options, pipeline, producer, job).#run();
    } finally {
      await producer.close();
    }
  }

  async #run(): Promise<void> {
    // A workbook takes long to open, a query to be answered: without a word of it another process would begin anew.
    const life = setInterval(() => void this.#giveSignOfLife({}).catch(() => undefined), signOfLifeMs);
    try {
      await this.#finish();
    } catch (error) {
      this.#work?.end(error);
      throw error;
    } finally {
      clearInterval(life);
      await this.#commits.whenIdle();
    }
    const { error_code: code, error } = this.#job;
    this.#work?.end(
      code === null ? undefined : new MillraceError(isErrorCode(code) ? code : 'INTERNAL', error ?? ''),
    );
  }

  async #finish(): Promise<void> {
    const { files, logger, signal } = this.#options;
    const format = fileFormats[this.#job.format as FileFormat['name']];
    try {
      const file = await format.open(files.input(this.#job.job_id));
      checkColumns(file, this.#pipeline.event.schema);
      if (this.#job.rows_total === null) await this.#count(file);
      this.#decimals = await findDecimalColumns(file);
      await this.#publish(format, file);
      await this.#whenScored();
      await this.#writeResult(format, file);
      await this.#end({ state: 'done' });
    } catch (error) {
      if (isCode(error, 'ENOENT')) return this.#fail(fileMissing());
      if (error instanceof MillraceError && error.code === 'FILE_INVALID') return this.#fail(error);
      const mayPass = error instanceof MillraceError || isFileSystemError(error) || signal.aborted;
      if (mayPass) throw error;
      logger.error({ err: error }, 'a job failed');
      const problem = 'Something went wrong on our side. The log has the details.';
      await this.#fail(new MillraceError('INTERNAL', problem));
    }
  }

  /** Reads the whole file once before the first event of it is on the log: one that is damaged leaves nothing there. */
  async #count(file: InputFile): Promise<void> {
    let rows = 0;
    for await (const batch of file.rows()) {
      rows += batch.length;
      if (rows > maxJobRows) throw fileInvalid(`The file has more than ${maxJobRows} rows. Split it.`);
      await this.#giveSignOfLife({ state: 'checking' });
    }
    if (rows === 0) throw fileInvalid('The file has no rows below its first, which names the columns.');
    // Not committed by itself: it goes with the first rows.
    this.#job = { ...this.#job, rows_total: rows, state: 'publishing' };
  }

  async #publish(format: FileFormat, file: InputFile): Promise<void> {
    const done = this.#job.rows_read;
    if (done === this.#job.rows_total) return;
    let number = 0;
    for await (const rows of inBatches(file.rows(), rowsPerCommit)) {
      const fresh = rows.slice(Math.max(0, done - number));
      const first = number + rows.length - fresh.length + 1;
      number += rows.length;
      if (fresh.length === 0) await this.#giveSignOfLife({});
      else await this.#publishRows(format, fresh, first);
    }
  }

  async #publishRows(format: FileFormat, rows: readonly InputRow[], first: number): Promise<void> {
    const { serde, metrics } = this.#options;
    const { scorer, event } = this.#pipeline;
    const records: NewRecord[] = [];
    const sending = this.#work?.send(this.#pipeline.topics.events);
    const eventTime = Date.now();
    for (const [index, row] of rows.entries()) {
      const fields = toEvent(row, event.schema, scorer, format.typed, this.#decimals);
      if (fields instanceof InvalidEvent) continue;
      const eventId = rowEventId(this.#job, first + index);
      const trace = sending?.nextHeaders();
      records.push(eventRecord(this.#pipeline, serde, { eventId, eventTime, source, fields }, trace));
    }
    const invalid = rows.length - records.length;
    const { rows_read, rows_invalid, rows_failed } = this.#job;
    const change: Change = {
      state: 'publishing',
      rows_read: rows_read + rows.length,
      rows_invalid: rows_invalid + invalid,
      rows_failed: rows_failed + invalid,
    };
    await timed(sending, this.#commit(change, records));
    metrics.eventsAccepted.inc({ pipeline: this.#pipeline.name, source }, records.length);
  }

  async #whenScored(): Promise<void> {
    const { client, signal } = this.#options;
    const { rows_read, rows_invalid } = this.#job;
    const published = rows_read - rows_invalid;
    const range = { from: rowEventId(this.#job, 0), to: `${rowEventId(this.#job, maxJobRows)}.` };
    let scored = 0;
    const startedAt = performance.now();
    let changedAt = startedAt;
    for (;;) {
      const now = await countAnswers(client, range);
      if (now > scored) changedAt = performance.now();
      scored = now;
      const isStalled = scored < published && performance.now() - changedAt > stallMs;
      const failed = isStalled ? await countFailures(client, this.#pipeline.name, range) : 0;
      const counts = { state: 'scoring', rows_scored: scored, rows_failed: rows_invalid + failed };
      if (scored + failed >= published) {
        this.#job = { ...this.#job, ...counts };
        return;
      }
      await this.#giveSignOfLife(counts);
      const pollMs = (performance.now() - startedAt) / 10;
      await sleep(Math.min(Math.max(pollMs, shortestPollMs), longestPollMs), undefined, { signal });
    }
  }

  async #writeResult(format: FileFormat, file: InputFile): Promise<void> {
    const { client, files, runner } = this.#options;
    const hasLabels = this.#pipeline.scorer.champions().some(({ output }) => output.decision !== undefined);
    const added = addedColumns(this.#job).filter((name) => name !== 'label' || hasLabels);
    const outcomes = readOutcomes(client, this.#pipeline, this.#job, format, file, this.#decimals);
    await files.writeResult(this.#job.job_id, runner, (path) =>
      format.write(path, file, added, this.#withSignsOfLife(outcomes)),
    );
  }

  async *#withSignsOfLife(outcomes: AsyncIterable<RowOutcome[]>) {
    for await (const batch of outcomes) {
      await this.#giveSignOfLife({ state: 'writing' });
      yield batch.map((outcome) => [outcome.row, toAdded(this.#job, outcome)] as const);
    }
  }

  #fail({ code, message }: MillraceError): Promise<void> {
    return this.#end({ state: 'failed', error_code: code, error: message });
  }

  async #end(change: Change & { state: 'done' | 'failed' }): Promise<void> {
    const { logger, metrics } = this.#options;
    await this.#commit({ ...change, finished_at: Date.now() });
    const { pipeline, state, rows_total, rows_failed, error, created_at, at } = this.#job;
    metrics.jobs.inc({ pipeline, state });
    const trace_id = this.#work?.traceId;
    logger.info(
      { pipeline, state, rows_total, rows_failed, error, tookMs: at - created_at, trace_id },
      'a job ended',
    );
  }

  async #giveSignOfLife(change: Change): Promise<void> {
    if (!this.#commits.isIdle || performance.now() - this.#committedAt < signOfLifeMs) return;
    // A second `accepted` would not count.
    await this.#commit(this.#job.state === 'accepted' ? { state: 'checking', ...change } : change);
  }

  #commit(change: Change, records: readonly NewRecord[] = []): Promise<void> {
    return this.#commits.run(() => this.#commitNow(change, records));
  }

  async #commitNow(change: Change, records: readonly NewRecord[]): Promise<void> {
    const { log, runner, signal } = this.#options;
    signal.throwIfAborted();
    // Greater than the last in any case: it orders the events of a job.
    const at = Math.max(Date.now(), this.#job.at + 1);
    const job = { ...this.#job, ...change, at, runner };
    await this.#producer.commit([...records, log.toRecord(job)]);
    // The work goes on beside a sign of life: what it has noted meanwhile stays.
    this.#job = { ...this.#job, ...change, at, runner };
    this.#committedAt = performance.now();
    log.apply(job);
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function fileMissing(): MillraceError {
  return new MillraceError(
    'JOB_FILE_MISSING',
    'The file of the job is gone. Check that FILES_DIR is the same folder for all processes, and send the file again.',
  );
}

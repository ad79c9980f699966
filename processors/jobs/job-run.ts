import { setTimeout as sleep } from 'node:timers/promises';
import type { ClickHouseClient } from '@clickhouse/client';
import type { Span } from '@opentelemetry/api';
import { countAnswers, countFailures } from '../../analytics/job-queries.js';
import { isErrorCode } from '../../platform/error-codes.js';
import { isSystemError, MillraceError } from '../../platform/errors.js';
import { givesLabels, givesMore } from '../../models/outputs.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { Mutex } from '../../platform/mutex.js';
import { endSpan, sendEvents } from '../../platform/tracing/spans.js';
import { isTracing, tracer } from '../../platform/tracing/traces.js';
import type { NewRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import type { TransactionalProducer } from '../../streams/transactional-producer.js';
import { eventRecord } from '../events/envelope.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { InvalidEvent } from '../../schemas/event-schema.js';
import type { DecimalColumns } from './formats/examine.js';
import { type FileFormat, fileInvalid, isFileSystemError, type ParsedRow } from './formats/file-format.js';
import { isFinished, type Job, maxJobRows, rowEventId } from './job.js';
import type { JobFiles } from './job-files.js';
import { JobHeartbeat } from './job-heartbeat.js';
import type { JobLog } from './job-log.js';
import { addedColumns, findOutcomes, rowsPerQuery, rowsWithOutputs, toAddedValues } from './job-result.js';
import type { FileParser, ParsedFile } from './parser/file-parser.js';
import { checkColumns } from './row-columns.js';
import { toEvent } from './row-event.js';

/** CloudEvents source of the rows’ events. */
const source = 'millrace/file';
/** Rows whose events are one transaction. */
const rowsPerCommit = 1_000;
const minPollMs = 20;
const maxPollMs = 500;
/** Dead letters are queried only when predictions stop arriving: their table is not ordered by event. */
const stallMs = 300;

export interface JobRunOptions {
  streams: Streams;
  serde: Serde;
  client: ClickHouseClient;
  log: JobLog;
  files: JobFiles;
  parser: FileParser;
  /** Names this process in the job's events. */
  runner: string;
  metrics: Metrics;
  logger: Logger;
  signal: AbortSignal;
}

type Change = Partial<Omit<Job, 'job_id' | 'at' | 'runner'>>;

/**
 * Brings one job from its present state to its end. It writes to the log as the only holder of the job's
 * transactional id, and writes the events of rows together with the number of rows done. So a process that
 * continues after a crash knows which rows are on the log, and the process that seemed dead is fenced.
 */
export class JobRun {
  readonly #options: JobRunOptions;
  readonly #pipeline: OpenPipeline;
  readonly #producer: TransactionalProducer;
  readonly #span: Span;
  readonly #heartbeat = new JobHeartbeat(() => this.#report({}));
  #job: Job;
  readonly #commits = new Mutex();
  #decimals: DecimalColumns = new Set();

  private constructor(
    options: JobRunOptions,
    pipeline: OpenPipeline,
    producer: TransactionalProducer,
    job: Job,
  ) {
    this.#options = options;
    this.#pipeline = pipeline;
    this.#producer = producer;
    this.#job = job;
    const attributes = { 'millrace.job.id': job.job_id };
    this.#span = tracer().startSpan(`score file ${pipeline.name}`, { attributes, root: true });
  }

  /**
   * Runs the job. Returns when the job is finished.
   *
   * @throws MillraceError: `LOG_FENCED` when another process has taken the job over, `JOB_FILE_MISSING`;
   *   retriable, to be called again: outages of the log or ClickHouse, or an aborted signal. Errors of the
   *   file system.
   */
  static async run(pipeline: OpenPipeline, jobId: string, options: JobRunOptions): Promise<void> {
    const producer = await options.streams.createTransactionalProducer(`millrace-job-${jobId}`);
    try {
      // From here on no other process can write to the job, so the newest event on the log is its state.
      await options.log.whenCaughtUp(30_000);
      const job = options.log.get(jobId);
      if (job === undefined || isFinished(job)) return;
      await new JobRun(options, pipeline, producer, job).#run();
    } finally {
      await producer.close();
    }
  }

  async #run(): Promise<void> {
    try {
      await this.#finish();
    } catch (error) {
      endSpan(this.#span, error);
      throw error;
    } finally {
      this.#heartbeat.stop();
      await this.#commits.whenIdle();
    }
    const { error_code: code, error } = this.#job;
    endSpan(
      this.#span,
      code === null ? undefined : new MillraceError(isErrorCode(code) ? code : 'INTERNAL', error ?? ''),
    );
  }

  async #finish(): Promise<void> {
    const { logger, signal } = this.#options;
    try {
      await this.#withFile(async (file) => {
        await this.#publish(file);
        await this.#writeResult(file);
      });
      await this.#end({ state: 'done' });
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return this.#fail(fileMissing());
      if (error instanceof MillraceError && error.code === 'FILE_INVALID') return this.#fail(error);
      const mayPass = error instanceof MillraceError || isFileSystemError(error) || signal.aborted;
      if (mayPass) throw error;
      logger.error({ err: error }, 'a job failed');
      const problem = 'Something went wrong on our side. The log has the details.';
      await this.#fail(new MillraceError('INTERNAL', problem));
    }
  }

  #withFile(use: (file: ParsedFile) => Promise<void>): Promise<void> {
    const { files, parser, signal } = this.#options;
    const format = this.#job.format as FileFormat['name'];
    return parser.read(files.input(this.#job.job_id), { format, signal }, use);
  }

  /** Reads the whole file before its first event is written: a damaged file leaves nothing on the log. */
  async #publish(file: ParsedFile): Promise<void> {
    checkColumns(file, this.#pipeline.event.schema);
    if (this.#job.rows_total === null) {
      const { rows, decimals } = await file.examine();
      if (rows === 0) throw fileInvalid('The file has no rows below its first, which names the columns.');
      // Committed with the first rows.
      this.#job = { ...this.#job, rows_total: rows, state: 'publishing' };
      this.#decimals = decimals;
    } else {
      this.#decimals = await file.decimals();
    }
    const { rows_read: skip, rows_total } = this.#job;
    if (skip === rows_total) return;
    for await (const rows of file.rows({ skip, maxRows: rowsPerCommit }))
      await this.#publishRows(file.format, rows);
  }

  async #publishRows({ typed }: FileFormat, rows: readonly ParsedRow[]): Promise<void> {
    const { serde, metrics } = this.#options;
    const { scorer, event } = this.#pipeline;
    const records: NewRecord[] = [];
    const eventTime = Date.now();
    for (const [index, row] of rows.entries()) {
      const fields = toEvent(row, event.schema, scorer, typed, this.#decimals);
      if (fields instanceof InvalidEvent) continue;
      const eventId = rowEventId(this.#job, this.#job.rows_read + index + 1);
      records.push(eventRecord(this.#pipeline, serde, { eventId, eventTime, source, fields }));
    }
    const invalid = rows.length - records.length;
    const { rows_read, rows_invalid, rows_failed } = this.#job;
    const change: Change = {
      state: 'publishing',
      rows_read: rows_read + rows.length,
      rows_invalid: rows_invalid + invalid,
      rows_failed: rows_failed + invalid,
    };
    const { events } = this.#pipeline.topics;
    await sendEvents(this.#span, events, records, () => this.#commit(change, records));
    metrics.eventsAccepted.inc({ pipeline: this.#pipeline.name, source }, records.length);
  }

  async #waitUntilScored(): Promise<void> {
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
      await this.#report(counts);
      const pollMs = (performance.now() - startedAt) / 10;
      await sleep(Math.min(Math.max(pollMs, minPollMs), maxPollMs), undefined, { signal });
    }
  }

  /** Reads the first rows while the last ones are still scored. */
  async #writeResult(file: ParsedFile): Promise<void> {
    const { client, files, runner } = this.#options;
    const versions = this.#pipeline.scorer.championVersions();
    const labels = versions.some(({ manifest }) => givesLabels(manifest));
    const added = addedColumns(this.#job, file.format, { labels, outputs: versions.some(givesMore) });
    const outputs = added.includes('outputs');
    const maxRows = outputs ? rowsWithOutputs(versions) : rowsPerQuery;
    const { typed } = file.format;
    const options = { client, pipeline: this.#pipeline, typed, decimals: this.#decimals, outputs };
    let first = 1;
    await files.writeResult(this.#job.job_id, runner, (path) =>
      file.write(path, { added, maxRows }, async (rows) => {
        if (first === 1) await this.#waitUntilScored();
        await this.#report({ state: 'writing' });
        const outcomes = await findOutcomes({ ...options, job: this.#job }, rows, first);
        first += rows.length;
        return outcomes.map((outcome) => toAddedValues(this.#job, outcome));
      }),
    );
  }

  #fail({ code, message }: MillraceError): Promise<void> {
    return this.#end({ state: 'failed', error_code: code, error: message });
  }

  async #end(change: Change & { state: 'done' | 'failed' }): Promise<void> {
    const { logger, metrics } = this.#options;
    await this.#commit({ ...change, finished_at: Date.now() });
    const { pipeline, state, rows_total, rows_failed, error, created_at, at } = this.#job;
    metrics.jobs.inc({ pipeline, state });
    const trace_id = isTracing() ? this.#span.spanContext().traceId : undefined;
    logger.info(
      { pipeline, state, rows_total, rows_failed, error, tookMs: at - created_at, trace_id },
      'a job ended',
    );
  }

  async #report(change: Change): Promise<void> {
    if (!this.#commits.isIdle || !this.#heartbeat.isDue) return;
    // A second `accepted` would be ignored.
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
    // The work runs concurrently with a heartbeat: its newer events must be kept.
    this.#job = { ...this.#job, ...change, at, runner };
    this.#heartbeat.sent();
    log.apply(job);
  }
}

function fileMissing(): MillraceError {
  return new MillraceError(
    'JOB_FILE_MISSING',
    'The file of the job is gone. Check that FILES_DIR is the same folder for all processes, and send the file again.',
  );
}

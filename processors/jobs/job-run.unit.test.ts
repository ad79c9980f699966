import { beforeEach, expect, test, vi } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { InvalidEvent } from '../../schemas/event-schema.js';
import type { NewRecord } from '../../streams/records.js';
import type { OpenPipeline } from '../pipelines/open-pipelines.js';
import { fileInvalid } from './formats/file-format.js';
import { type Job, rowEventId } from './job.js';
import { JobRun, type JobRunOptions } from './job-run.js';
import type { ParsedFile } from './parser/file-parser.js';
import { jobOf } from './testing/test-job.js';

interface Event {
  x: number;
}

/** A pipeline whose events have a number `x` that is not negative. */
const pipeline = {
  name: 'here',
  topics: { events: 'here.events' },
  pipeline: {},
  event: { schemaId: 1, type: {}, schema: { fields: [{ name: 'x', type: 'double' }] } },
  scorer: {
    validate: (event: Event) =>
      event.x < 0 ? new InvalidEvent([{ field: 'x', problem: 'must not be negative' }]) : event,
    championVersions: () => [],
  },
} as unknown as OpenPipeline;

/** One job with everything around it in memory: each committed transaction, and the result. */
class TestRun {
  job: Job;
  /** Events on the log by id, each of which is scored at once. */
  readonly events = new Map<string, Event>();
  readonly commits: { events: string[]; state: string; rows_read: number }[] = [];
  /** The added values of each row of the result. */
  result: object[] | undefined;
  opens = 0;
  readonly stopping = new AbortController();
  /** Called when the file is opened. */
  onOpen: () => Promise<void> | void = () => undefined;
  /** Called before each commit. */
  onCommit: () => void = () => undefined;
  readonly #rows: number[];

  constructor(job: Job, rows: number[]) {
    this.job = job;
    this.#rows = rows;
  }

  run(): Promise<void> {
    const options = {
      streams: { createTransactionalProducer: () => Promise.resolve(this.#producer()) },
      serde: { encode: (_id: number, _type: object, value: object) => Buffer.from(JSON.stringify(value)) },
      client: { query: (query: { query: string }) => this.#query(query.query) },
      log: {
        whenCaughtUp: () => Promise.resolve(),
        get: () => this.job,
        toRecord: (job: Job) => ({ topic: 'jobs', key: job.job_id, value: Buffer.from(JSON.stringify(job)) }),
        apply: (job: Job) => (this.job = job),
      },
      files: {
        input: () => 'input',
        writeResult: (_id: string, _runner: string, write: (path: string) => Promise<void>) =>
          write('result'),
      },
      parser: {
        read: async (_path: string, _options: object, use: (file: ParsedFile) => Promise<void>) => {
          this.opens++;
          await this.onOpen();
          return use(this.#file());
        },
      },
      runner: 'me',
      metrics: createMetrics(),
      logger: silentLogger,
      signal: this.stopping.signal,
    };
    return JobRun.run(pipeline, this.job.job_id, options as unknown as JobRunOptions);
  }

  #producer() {
    return {
      commit: (records: NewRecord[]) => {
        this.onCommit();
        const events = records.filter(({ topic }) => topic === 'here.events');
        for (const { headers, value } of events)
          this.events.set(String(headers?.['ce_id']), JSON.parse(String(value)) as Event);
        const { state, rows_read } = JSON.parse(String(records.at(-1)?.value)) as Job;
        this.commits.push({
          events: events.map(({ headers }) => String(headers?.['ce_id'])),
          state,
          rows_read,
        });
        return Promise.resolve();
      },
      close: () => Promise.resolve(),
    };
  }

  #query(query: string) {
    const answers = [...this.events].map(([event_id, { x }]) => ({
      event_id,
      score: x / 10,
      label: null,
      model: 'm',
      model_version: '1',
      features: JSON.stringify({ x }),
    }));
    const rows = query.includes('count') ? [{ count: answers.length }] : answers;
    return Promise.resolve({ json: () => Promise.resolve(rows) });
  }

  #file() {
    const rows = this.#rows.map((x) => ({ values: { x } }));
    return {
      format: { name: 'jsonl', typed: true },
      columns: undefined,
      examine: () => Promise.resolve({ rows: rows.length, decimals: new Set() }),
      decimals: () => Promise.resolve(new Set()),
      rows: async function* ({ skip = 0, maxRows }: { skip?: number; maxRows: number }) {
        for (let first = skip; first < rows.length; first += maxRows)
          yield await Promise.resolve(rows.slice(first, first + maxRows));
      },
      write: async (_path: string, _options: object, valuesOf: (batch: object[]) => Promise<object[]>) => {
        this.result = await valuesOf(rows);
      },
    } as unknown as ParsedFile;
  }
}

// The only test that waits for a heartbeat advances the time itself.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});

const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

test('publishes the rows of a file in transactions with the number of rows done, and writes the result', async () => {
  const run = new TestRun(jobOf(), range(2_500));
  await run.run();
  expect(run.commits.map(({ events, state, rows_read }) => [events.length, state, rows_read])).toEqual([
    [1_000, 'publishing', 1_000],
    [1_000, 'publishing', 2_000],
    [500, 'publishing', 2_500],
    [0, 'done', 2_500],
  ]);
  expect([...run.events.keys()]).toEqual(range(2_500).map((row) => rowEventId(run.job, row + 1)));
  expect(run.job).toMatchObject({ rows_total: 2_500, rows_scored: 2_500, rows_failed: 0, runner: 'me' });
  expect(run.result?.[7]).toMatchObject({ prediction: 0.7, event_id: rowEventId(run.job, 8), error: null });
  expect(run.opens).toBe(1);
});

test('publishes nothing for an invalid row, which has its error in the result', async () => {
  const run = new TestRun(jobOf(), [1, -1, 2]);
  await run.run();
  expect([...run.events.values()]).toEqual([{ x: 1 }, { x: 2 }]);
  expect(run.job).toMatchObject({ state: 'done', rows_invalid: 1, rows_failed: 1, rows_scored: 2 });
  expect(run.result?.[1]).toMatchObject({
    prediction: null,
    error: 'EVENT_INVALID: x must not be negative',
  });
});

test('continues after the rows that are on the log after a crash', async () => {
  const run = new TestRun(jobOf({ state: 'publishing', rows_total: 1_300, rows_read: 1_000 }), range(1_300));
  for (const x of range(1_000)) run.events.set(rowEventId(run.job, x + 1), { x });
  await run.run();
  expect(run.commits[0]?.events).toEqual(range(300).map((row) => rowEventId(run.job, 1_001 + row)));
  expect(run.commits).toHaveLength(2);
  expect(run.job).toMatchObject({ state: 'done', rows_scored: 1_300 });
});

test('leaves a finished job alone', async () => {
  const run = new TestRun(jobOf({ state: 'done' }), [1]);
  await run.run();
  expect([run.opens, run.commits]).toEqual([0, []]);
});

test.each<[string, () => never, object]>([
  [
    'with the reason for a damaged file',
    () => {
      throw fileInvalid('The file is no csv.');
    },
    { error_code: 'FILE_INVALID', error: 'The file is no csv.' },
  ],
  [
    'when its file is gone',
    () => {
      throw Object.assign(new Error('no such file'), { code: 'ENOENT', syscall: 'open' });
    },
    { error_code: 'JOB_FILE_MISSING' },
  ],
  [
    'with nothing of the cause for a fault of the program',
    () => {
      throw new TypeError('x of undefined');
    },
    { error_code: 'INTERNAL', error: 'Something went wrong on our side. The log has the details.' },
  ],
])('fails %s', async (_, onOpen, expected) => {
  const run = new TestRun(jobOf(), [1]);
  run.onOpen = onOpen;
  await run.run();
  expect(run.job).toMatchObject({ state: 'failed', finished_at: run.job.finished_at, ...expected });
  expect(run.job.finished_at).not.toBeNull();
  expect(run.events.size).toBe(0);
});

test('fails for a file without rows', async () => {
  const run = new TestRun(jobOf(), []);
  await run.run();
  expect(run.job).toMatchObject({ state: 'failed', error: expect.stringContaining('no rows') as string });
});

test.each([
  ['the disk', Object.assign(new Error('input/output error'), { code: 'EIO', syscall: 'read' })],
  ['ClickHouse', new MillraceError('CLICKHOUSE_UNAVAILABLE', 'It is down.', { retriable: true })],
])('stays unfinished when %s fails, to be retried', async (_, error) => {
  const run = new TestRun(jobOf(), [1]);
  run.onOpen = () => {
    throw error;
  };
  await expect(run.run()).rejects.toBe(error);
  expect(run.commits).toEqual([]);
});

test('stays unfinished when another process has taken it over', async () => {
  const fenced = new MillraceError('LOG_FENCED', 'Another process has the id.');
  const run = new TestRun(jobOf(), [1]);
  run.onCommit = () => {
    throw fenced;
  };
  await expect(run.run()).rejects.toBe(fenced);
  expect(run.job.state).toBe('accepted');
});

test('stays unfinished when the process stops', async () => {
  const run = new TestRun(jobOf(), [1]);
  run.onOpen = () => run.stopping.abort();
  await expect(run.run()).rejects.toThrow('abort');
  expect(run.commits).toEqual([]);
});

test('orders the events of a job by time, even when the clock is behind the last one', async () => {
  const ahead = Date.now() + 60_000;
  const run = new TestRun({ ...jobOf(), at: ahead }, [1]);
  await run.run();
  expect(run.job.at).toBe(ahead + 2);
});

test('sends a heartbeat each second while its file takes long to open', async () => {
  const run = new TestRun(jobOf(), [1]);
  let release = (): void => undefined;
  const opened = new Promise<void>((resolve) => (release = resolve));
  let isOpening = (): void => undefined;
  const opening = new Promise<void>((resolve) => (isOpening = resolve));
  run.onOpen = () => {
    isOpening();
    return opened;
  };
  const running = run.run();
  await opening;
  for (let second = 1; second <= 3; second++) {
    await vi.advanceTimersByTimeAsync(1_000);
    expect(run.commits).toHaveLength(second);
  }
  expect(run.commits[0]).toEqual({ events: [], state: 'checking', rows_read: 0 });
  release();
  await running;
  expect(run.job.state).toBe('done');
  const { length } = run.commits;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(run.commits).toHaveLength(length);
});

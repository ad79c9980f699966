import { beforeEach, expect, test, vi } from 'vitest';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import type { Serde } from '../../streams/serde.js';
import type { Streams } from '../../streams/streams.js';
import type { Job } from './job.js';
import { JobLog } from './job-log.js';
import { hourMs, jobOf } from './testing/test-job.js';

const sent: NewRecord[] = [];
let log: JobLog;
let read: (records: StreamRecord[]) => Promise<void>;

beforeEach(async () => {
  sent.length = 0;
  const streams = {
    follow: ({ handle }: { handle: typeof read }) => {
      read = handle;
      return Promise.resolve({ stop: () => Promise.resolve(), whenCaughtUp: () => Promise.resolve() });
    },
  };
  const serde = {
    register: () => Promise.resolve(1),
    encode: (_id: number, _type: object, job: Job) => Buffer.from(JSON.stringify(job)),
    decode: (value: Buffer) =>
      String(value) === 'damaged'
        ? Promise.reject(new MillraceError('UNDECODABLE', 'It is no event.'))
        : Promise.resolve(JSON.parse(String(value)) as Job),
  };
  const producer = { send: (records: NewRecord[]) => Promise.resolve(sent.push(...records)) };
  log = await JobLog.open({
    streams: streams as unknown as Streams,
    serde: serde as unknown as Serde,
    producer: producer as unknown as LogProducer,
    logger: silentLogger,
  });
});

const record = (job: Job): StreamRecord =>
  ({
    key: Buffer.from(job.job_id),
    value: Buffer.from(JSON.stringify(job)),
    offset: 0n,
  }) as unknown as StreamRecord;

test('has the newest event of a job', async () => {
  const job = jobOf();
  await read([record(job), record({ ...job, state: 'publishing', at: job.at + 1, rows_read: 5 })]);
  expect(log.get(job.job_id)).toMatchObject({ state: 'publishing', rows_read: 5 });
  expect(log.unfinished()).toHaveLength(1);
});

test.each<[string, Partial<Job>, Partial<Job>]>([
  ['an older event', { state: 'scoring' }, { state: 'publishing', at: 1 }],
  ['a second acceptance', { state: 'publishing' }, { state: 'accepted' }],
  ['anything after the end', { state: 'failed' }, { state: 'publishing' }],
])('does not let %s change a job', async (_, first, second) => {
  const job = jobOf(first);
  await read([record(job), record({ ...job, at: job.at + 1, ...second })]);
  expect(log.get(job.job_id)).toEqual(job);
});

test('ignores events with a wrong id and unreadable records', async () => {
  const job = jobOf();
  const damaged = { ...record(job), value: Buffer.from('damaged') };
  await read([damaged, record(jobOf({ job_id: '../other' })), record(job)]);
  expect(log.list()).toEqual([job]);
});

test('calls listeners with each new state until they stop watching', async () => {
  const job = jobOf();
  const listener = vi.fn<(job: Job) => void>();
  const stopWatching = log.watch(job.job_id, listener);
  await log.accept(job, 1_000);
  await read([record(job)]);
  const next = { ...job, state: 'checking', at: job.at + 1 };
  log.apply(next);
  stopWatching();
  log.apply({ ...next, state: 'done', at: job.at + 2 });
  expect(listener.mock.calls).toEqual([[job], [next]]);
});

test('removes jobs that finished before a time, and those whose tombstone is on the log', async () => {
  const old = jobOf({ state: 'done', agoMs: 2 * hourMs });
  const young = jobOf({ state: 'done' });
  const unfinished = jobOf({ state: 'scoring', agoMs: 2 * hourMs });
  await read([old, young, unfinished].map(record));
  await log.removeFinishedBefore(Date.now() - hourMs);
  expect(sent).toMatchObject([{ key: old.job_id, value: null }]);
  expect(log.list()).toEqual([young, unfinished]);
  await read([{ ...record(young), value: null }]);
  expect(log.list()).toEqual([unfinished]);
});

test('lists the newest jobs first, and remembers no more than 10,000 that are finished', async () => {
  const jobs = Array.from({ length: 10_002 }, (_, index) => jobOf({ state: 'done', agoMs: 20_000 - index }));
  const unfinished = jobOf({ state: 'scoring', agoMs: 30_000 });
  await read([unfinished, ...jobs].map(record));
  const known = log.list().map(({ job_id }) => job_id);
  expect(known).toHaveLength(10_001);
  expect(known[0]).toBe(jobs.at(-1)?.job_id);
  expect(known.at(-1)).toBe(unfinished.job_id);
  expect(known).not.toContain(jobs[1]?.job_id);
});

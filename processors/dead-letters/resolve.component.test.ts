import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ErrorCode } from '../../platform/error-codes.js';
import { MillraceError } from '../../platform/errors.js';
import { StreamsFixture } from '../../tests/contract/streams-fixture.js';
import { deferred, unique } from '../../tests/contract/client.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { unreadableHeader } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';
import { pipelineTopics, pipelineTopicSpecs } from '../../streams/topics.js';
import { eachDeadLetter, readResolutions } from './search.js';
import { deadLetterRecord, shrinkDeadLetter, type StoredDeadLetter } from './dead-letter.js';
import { deadLetterId, positionEventId } from '../events/ids.js';
import { resolutionRecord } from './resolutions.js';
import { resolveDeadLetters, type ResolveOptions } from './resolve.js';

let fixture: StreamsFixture;
let streams: Streams;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
  ({ streams } = fixture.open());
});
afterAll(() => fixture.close());

const failedAt = Date.UTC(2026, 0, 31, 12);

/** A pipeline's topics, on a log that other tests use too. */
async function pipeline(): Promise<string> {
  const name = unique('dead-letters');
  await streams.createTopics(pipelineTopicSpecs(name, 2));
  return name;
}

function failed(name: string, offset: number, set: Partial<StreamRecord> = {}): StreamRecord {
  return {
    topic: pipelineTopics(name).events,
    partition: 0,
    offset,
    timestamp: failedAt - 1000,
    key: Buffer.from(`key-${offset}`),
    value: Buffer.from([0xff, 0, offset % 256]),
    headers: { ce_id: Buffer.from(`event-${offset}`), trace: Buffer.from([0, 0xfe]) },
    ...set,
  };
}

function letterOf(name: string, record: StreamRecord, code: ErrorCode = 'UNDECODABLE'): NewRecord {
  const eventId = record.headers['ce_id']?.toString() ?? positionEventId(record);
  const about = { now: failedAt + record.offset, schemaId: undefined, eventId };
  return deadLetterRecord(
    pipelineTopics(name).deadLetters,
    name,
    record,
    new MillraceError(code, 'it is bad'),
    about,
  );
}

async function write(records: NewRecord[]): Promise<void> {
  const producer = await streams.createProducer();
  await producer.send(records);
  await producer.close();
}

function options(name: string, set: Partial<ResolveOptions> = {}): ResolveOptions {
  return { pipeline: name, filter: {}, kind: 'redriven', again: false, note: '', dryRun: false, ...set };
}

async function eventsOf(name: string): Promise<StreamRecord[]> {
  const records: StreamRecord[] = [];
  const follower = await streams.follow({
    topics: [pipelineTopics(name).events],
    handle: (batch) => void records.push(...batch),
  });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  await follower.stop();
  return records.toSorted((a, b) => (String(a.headers['ce_id']) < String(b.headers['ce_id']) ? -1 : 1));
}

function headersOf(record: StreamRecord | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(record?.headers ?? {}).map(([name, value]) => [name, value.toString('latin1')]),
  );
}

test('writes the same bytes, key and headers back, once, and records that on the log', async () => {
  const name = await pipeline();
  await write([1, 2, 3].map((offset) => letterOf(name, failed(name, offset))));
  const first = await resolveDeadLetters(streams, options(name, { note: 'schema mended' }));
  expect(first).toMatchObject({ done: 3, total: 3, resolvedBefore: 0 });
  const second = await resolveDeadLetters(streams, options(name));
  expect(second).toMatchObject({ done: 0, total: 0, resolvedBefore: 3 });
  const events = await eventsOf(name);
  expect(events.map(({ key, value }) => [String(key), value?.toString('hex')])).toEqual([
    ['key-1', 'ff0001'],
    ['key-2', 'ff0002'],
    ['key-3', 'ff0003'],
  ]);
  expect(headersOf(events[0])).toEqual({
    ce_id: 'event-1',
    ce_time: '2026-01-31T11:59:59.000Z',
    trace: '\u0000\u00fe',
    'millrace-redriven': '1',
  });
  const id = deadLetterId({ topic: pipelineTopics(name).events, partition: 0, offset: 1 });
  expect((await readResolutions(streams, [name])).get(id)).toMatchObject({
    kind: 'redriven',
    note: 'schema mended',
    pipeline: name,
  });
});

test('resolves only dead letters that match the filter, and counts them in a dry run', async () => {
  const name = await pipeline();
  await write([
    ...[1, 2, 3].map((offset) => letterOf(name, failed(name, offset))),
    letterOf(name, failed(name, 4), 'EVENT_INVALID'),
  ]);
  const filter = { reasons: new Set(['UNDECODABLE']), since: failedAt + 2, until: failedAt + 3 };
  const dry = await resolveDeadLetters(streams, options(name, { filter, dryRun: true }));
  expect(dry).toMatchObject({ done: 0, total: 1, reasons: new Map([['UNDECODABLE', 1]]) });
  expect(await eventsOf(name)).toEqual([]);
  await resolveDeadLetters(streams, options(name, { filter }));
  expect((await eventsOf(name)).map((event) => headersOf(event)['ce_id'])).toEqual(['event-2']);
});

test('discards without redriving, and redrives discarded ones on request', async () => {
  const name = await pipeline();
  await write([letterOf(name, failed(name, 1))]);
  await resolveDeadLetters(streams, options(name, { kind: 'discarded' }));
  expect(await resolveDeadLetters(streams, options(name))).toMatchObject({ done: 0, resolvedBefore: 1 });
  expect(await eventsOf(name)).toEqual([]);
  expect(await resolveDeadLetters(streams, options(name, { again: true }))).toMatchObject({ done: 1 });
  expect(await eventsOf(name)).toHaveLength(1);
  const [resolution] = (await readResolutions(streams, [name])).values();
  expect(resolution?.kind).toBe('redriven');
});

test('reports why a dead letter can’t be redriven, and leaves it open', async () => {
  const name = await pipeline();
  const whole = letterOf(name, failed(name, 1, { value: Buffer.alloc(1_200_000, 'x') }));
  await write([
    shrinkDeadLetter(letterOf(name, failed(name, 2))),
    letterOf(name, failed(name, 3, { value: null, headers: { [unreadableHeader]: Buffer.from('zstd') } })),
    letterOf(name, failed(name, 4, { topic: 'millrace.models' })),
    { topic: pipelineTopics(name).deadLetters, key: 'x', value: Buffer.from('put here by someone') },
    whole,
    letterOf(name, failed(name, 6, { topic: pipelineTopics(name).outcomes })),
  ]);
  const { done, impossible } = await resolveDeadLetters(streams, options(name));
  expect(done).toBe(1);
  expect(Object.fromEntries(impossible)).toEqual({
    'the dead letter holds only the beginning of the value: the log could not take the whole': 1,
    'its batch can’t be decompressed or parsed, so the dead letter holds no value': 1,
    [`it did not come from a topic of events, predictions or outcomes of ${name}`]: 2,
    'it has more than 1000000 bytes: its topic took it only compressed': 1,
  });
  expect(await resolveDeadLetters(streams, options(name))).toMatchObject({ resolvedBefore: 1 });
});

test('redrives a duplicate dead letter once; one that fails again has the number of redrives', async () => {
  const name = await pipeline();
  const deadLetter = letterOf(name, failed(name, 1));
  await write([deadLetter, deadLetter]);
  expect(await resolveDeadLetters(streams, options(name))).toMatchObject({ done: 1 });
  const [event] = await eventsOf(name);
  if (event === undefined) throw new Error('nothing was put back');
  await write([letterOf(name, event)]);
  const deadLetters: StoredDeadLetter[] = [];
  await eachDeadLetter(streams, [name], (batch) => void deadLetters.push(...batch));
  expect(deadLetters.map(({ eventId, redriven }) => ({ eventId, redriven }))).toEqual([
    { eventId: 'event-1', redriven: 0 },
    { eventId: 'event-1', redriven: 1 },
  ]);
});

test('a later run takes over, and together the runs redrive each dead letter once', async () => {
  const name = await pipeline();
  await write(Array.from({ length: 60 }, (_, index) => letterOf(name, failed(name, index))));
  let second: Promise<unknown> | undefined;
  const first = resolveDeadLetters(
    streams,
    options(name, {
      // Slow: the second run must begin while this one is at work.
      rate: 10,
      onProgress: (done) => {
        if (done > 0) second ??= resolveDeadLetters(fixture.open().streams, options(name));
      },
    }),
  );
  await expect(first).rejects.toMatchObject({ code: 'LOG_FENCED' });
  await second;
  const ids = (await eventsOf(name)).map((event) => headersOf(event)['ce_id']);
  expect(ids).toHaveLength(60);
  expect(new Set(ids).size).toBe(60);
});

test('a dead letter that was resolved during another’s open transaction is not redriven again', async () => {
  const name = await pipeline();
  await write([letterOf(name, failed(name, 1))]);
  const deadLetters: StoredDeadLetter[] = [];
  await eachDeadLetter(streams, [name], (batch) => void deadLetters.push(...batch));
  const [deadLetter] = deadLetters;
  if (deadLetter === undefined) throw new Error('there is no dead letter');
  const transaction = await fixture.openTransaction(deadLetter.record.topic, deadLetter.record.partition);
  await write([resolutionRecord(deadLetter, { kind: 'redriven', note: '', now: failedAt })]);

  const waits = deferred();
  const lastStableOffsets: Streams['lastStableOffsets'] = (...args) => {
    waits.resolve();
    return streams.lastStableOffsets(...args);
  };
  const resolving = resolveDeadLetters({ ...streams, lastStableOffsets }, options(name));
  await Promise.race([waits.promise, resolving]);
  await transaction.abort();
  expect(await resolving).toMatchObject({ done: 0, resolvedBefore: 1 });
  expect(await eventsOf(name)).toEqual([]);
});

test('without the topics it reports that, and who creates them', async () => {
  await expect(resolveDeadLetters(streams, options(unique('none')))).rejects.toMatchObject({
    code: 'TOPIC_MISSING',
    message: expect.stringMatching(/no topic none.*dead-letters.*Every role creates the topics/) as string,
  });
});

test('finishes the work in flight on a stop, and continues in the next run', async () => {
  const name = await pipeline();
  await write(Array.from({ length: 30 }, (_, index) => letterOf(name, failed(name, index))));
  const stopping = new AbortController();
  let readAfterwards = 0;
  // Its dead letters are in two partitions, so there is more to read when it is stopped.
  const read: Streams['read'] = (spans, handle) =>
    streams.read(spans, (records) => {
      if (stopping.signal.aborted) readAfterwards += records.length;
      return handle(records);
    });
  const stopped = await resolveDeadLetters(
    { ...streams, read },
    options(name, {
      rate: 20,
      signal: stopping.signal,
      onProgress: (done) => void (done >= 4 && stopping.abort()),
    }),
  );
  expect(stopped).toMatchObject({ done: 4, total: 30 });
  expect(readAfterwards).toBe(0);
  expect(await resolveDeadLetters(streams, options(name))).toMatchObject({ done: 26, resolvedBefore: 4 });
  expect(await eventsOf(name)).toHaveLength(30);
});

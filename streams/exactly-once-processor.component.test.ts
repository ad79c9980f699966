import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { ContractClient, deferred, eventually, unique } from '../tests/contract/client.js';
import { apiKeys } from '../tests/contract/flaky-network.js';
import { numbered, numbersOf, range, StreamsFixture } from '../tests/contract/streams-fixture.js';
import type { Consumption } from './consumption.js';
import { untilCommitted } from './testing/until-committed.js';
import { kafkajs } from './kafkajs.js';
import type { NewRecord, StreamRecord } from './records.js';
import type { Streams } from './streams.js';
import type { ExactlyOnceProcessorOptions } from './exactly-once-processor.js';
import { listening } from '../tests/contract/listening-logger.js';

let fixture: StreamsFixture;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterAll(() => fixture.close());

interface Pipe {
  input: string;
  output: string;
  groupId: string;
}

async function pipe(streams: Streams, partitions = 1): Promise<Pipe> {
  const [input, output] = [
    await fixture.topic(streams, partitions),
    await fixture.topic(streams, partitions),
  ];
  return { input, output, groupId: unique('group') };
}

function passThrough({ output }: Pipe): (records: StreamRecord[]) => Promise<NewRecord[]> {
  return (records) => Promise.resolve(records.map(({ key, value }) => ({ topic: output, key, value })));
}

function start(
  streams: Streams,
  each: Pipe,
  options: Partial<ExactlyOnceProcessorOptions> = {},
): Promise<Consumption> {
  const { groupId, input } = each;
  return streams.transform({ groupId, topics: [input], process: passThrough(each), ...options });
}

/**
 * Resolves once the input records up to these, by partition, are processed: all of their outputs are visible.
 */
function untilProcessed(
  streams: Streams,
  { groupId, input }: Pipe,
  offsets: Record<number, number>,
): Promise<void> {
  return untilCommitted(streams, { groupId, topic: input, offsets });
}

async function fill(
  streams: Streams,
  topic: string,
  from: number,
  to: number,
  partitions = 1,
): Promise<void> {
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, from, to, partitions));
}

describe('transform', () => {
  test('writes the outputs of every record once', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams, 3);
    await fill(streams, each.input, 0, 3_000, 3);
    const running = await start(streams, each, { maxBatch: 100 });
    await untilProcessed(streams, each, { 0: 999, 1: 999, 2: 999 });
    expect(numbersOf(await fixture.readAll(each.output, 3_000))).toEqual(range(0, 3_000));
    expect((await streams.lag(each.groupId, [each.input])).map(({ lag }) => lag)).toEqual([0, 0, 0]);
    await eventually(() => running.status().ok);
  });

  test('may drop, multiply and route records; skips transaction markers of its input', async () => {
    const { streams } = fixture.open();
    const first = await pipe(streams, 2);
    const second = { input: first.output, output: await fixture.topic(streams), groupId: unique('group') };
    await fill(streams, first.input, 0, 100, 2);
    await start(streams, first, { maxBatch: 7 });
    await start(streams, second, {
      process: (records) =>
        Promise.resolve(
          records.flatMap(({ key, value }) =>
            Number(value) % 2 === 0
              ? []
              : [value, value].map((copy) => ({ topic: second.output, key, value: copy })),
          ),
        ),
    });
    const odd = range(0, 50).flatMap((index) => [index * 2 + 1, index * 2 + 1]);
    expect(numbersOf(await fixture.readAll(second.output, 100))).toEqual(odd);
    await eventually(async () =>
      (await streams.lag(second.groupId, [second.input])).every(({ lag }) => lag <= 1),
    );
  });

  test('shrinks an output that is too large for the broker, and leaves the others unchanged', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams);
    await fill(streams, each.input, 0, 3);
    const value = (record: StreamRecord): Buffer =>
      record.offset === 1 ? Buffer.alloc(3_000_000) : Buffer.from(String(record.offset));
    const shrunk: number[] = [];
    await start(streams, each, {
      process: (records) =>
        Promise.resolve(
          records.map((record) => ({ topic: each.output, key: record.key, value: value(record) })),
        ),
      shrink: (record) => {
        shrunk.push(record.value?.length ?? 0);
        return { ...record, value: Buffer.from('1') };
      },
    });
    await untilProcessed(streams, each, { 0: 2 });
    expect(numbersOf(await fixture.readAll(each.output, 3))).toEqual([0, 1, 2]);
    expect(shrunk).toEqual([3_000_000]);
  });

  test.each([
    ['a transient error', new MillraceError('REGISTRY_UNAVAILABLE', 'down')],
    ['a lasting error', new MillraceError('TOPIC_MISSING', 'broken')],
  ])('%s blocks the partition, and nothing is lost or skipped', async (_what, error) => {
    const { streams } = fixture.open();
    const each = await pipe(streams);
    await fill(streams, each.input, 0, 50);
    const seen: number[] = [];
    let failures = 2;
    const running = await start(streams, each, {
      maxBatch: 10,
      process(records) {
        seen.push(records[0]?.offset ?? -1);
        if (records[0]?.offset === 20 && failures-- > 0) throw error;
        return passThrough(each)(records);
      },
    });
    await eventually(() => !running.status().ok && running.status().lastError === error.message);
    await untilProcessed(streams, each, { 0: 49 });
    expect(seen).toEqual([0, 10, 20, 20, 20, 30, 40]);
    await eventually(() => running.status().ok);
    expect(numbersOf(await fixture.readAll(each.output, 50))).toEqual(range(0, 50));
  });

  test('replaces outputs that the log refuses, shrinking them as needed, and writes the others', async () => {
    const { streams } = fixture.open();
    const each = {
      ...(await pipe(streams)),
      output: await fixture.topic(streams, 1, { 'max.message.bytes': '4000' }),
    };
    await fill(streams, each.input, 0, 40);
    const bytes = (offset: number): number => (offset === 7 || offset === 30 ? 10_000 : 100);
    const given: [number, string, number][] = [];
    const running = await start(streams, each, {
      process: (records) =>
        Promise.resolve(
          records.map(({ offset }) => ({
            topic: each.output,
            key: null,
            value: Buffer.from(String(offset).padStart(bytes(offset), '0')),
          })),
        ),
      instead({ offset }, { code }, refusals) {
        given.push([offset, code, refusals]);
        // Offset 30 is too large until its last attempt.
        const size = offset === 30 && refusals < 2 ? 9_000 : 10;
        return { topic: each.output, key: null, value: Buffer.from(String(-offset).padStart(size, ' ')) };
      },
    });
    await untilProcessed(streams, each, { 0: 39 });
    const written = (await fixture.readAll(each.output, 40)).map(({ value }) => Number(value));
    expect(written).toEqual(range(0, 40).map((offset) => (bytes(offset) > 100 ? -offset : offset)));
    expect(given).toEqual([
      [7, 'RECORD_TOO_LARGE', 0],
      [30, 'RECORD_TOO_LARGE', 0],
      [30, 'RECORD_TOO_LARGE', 1],
      [30, 'RECORD_TOO_LARGE', 2],
    ]);
    await eventually(() => running.status().ok);
  });

  test.each([
    ['an error of its own', new MillraceError('TOPIC_MISSING', 'broken')],
    ['a fault of the program', new TypeError('it is not a function')],
    [
      'an error of the broker',
      Object.assign(new Error('not allowed'), {
        name: 'KafkaJSProtocolError',
        type: 'TOPIC_AUTHORIZATION_FAILED',
        retriable: false,
      }),
    ],
  ])(
    'a partition with a permanent error (%s) blocks no other, is reported, and recovers',
    async (_, error) => {
      const told: { level: string; details: object; message: string }[] = [];
      const { streams } = fixture.open(
        listening((level, details, message) => told.push({ level, details, message })),
      );
      const each = await pipe(streams, 3);
      await fill(streams, each.input, 0, 30, 3);
      let isBroken = true;
      const running = await start(streams, each, {
        process(records) {
          if (isBroken && records.some(({ partition }) => partition === 1)) throw error;
          return passThrough(each)(records);
        },
      });
      await untilProcessed(streams, each, { 0: 9, 2: 9 });
      await eventually(() => !running.status().ok);
      // Not only those of the same fetch.
      await fill(streams, each.input, 30, 60, 3);
      await untilProcessed(streams, each, { 0: 19, 2: 19 });
      expect(running.status()).toMatchObject({ ok: false, lastError: error.message });
      const errors = told.filter(({ level }) => level === 'error');
      expect(errors.length).toBeGreaterThan(0);
      expect(errors[0]).toMatchObject({
        message: expect.stringContaining('the partition waits until the cause is fixed') as string,
        details: { topic: each.input, partition: 1, from: 0 },
      });
      isBroken = false;
      await untilProcessed(streams, each, { 1: 19 });
      await eventually(() => running.status().ok);
      expect(numbersOf(await fixture.readAll(each.output, 60))).toEqual(range(0, 60));
    },
  );

  test('processes the next records while the last are committed, and gives each to the log once', async () => {
    const { streams, network } = fixture.open();
    const each = await pipe(streams);
    await fill(fixture.open().streams, each.input, 0, 40);
    const seen: { from: number; committed: number }[] = [];
    await start(streams, each, {
      maxBatch: 10,
      process(records) {
        const committed = network.requests.get(apiKeys.endTxn) ?? 0;
        seen.push({ from: records[0]?.offset ?? -1, committed });
        return passThrough(each)(records);
      },
    });
    await untilProcessed(streams, each, { 0: 39 });
    expect(seen).toEqual([
      { from: 0, committed: 0 },
      { from: 10, committed: 0 },
      { from: 20, committed: 1 },
      { from: 30, committed: 2 },
    ]);
    expect(numbersOf(await fixture.readAll(each.output, 40))).toEqual(range(0, 40));
  });

  test('processes no records again that were processed while a commit failed, but those of the commit', async () => {
    const { streams, network } = fixture.open();
    const each = await pipe(streams);
    await fill(fixture.open().streams, each.input, 0, 40);
    const seen: number[] = [];
    await start(streams, each, {
      maxBatch: 10,
      process(records) {
        seen.push(records[0]?.offset ?? -1);
        if (seen.length === 3) network.loseRequest(apiKeys.endTxn);
        return passThrough(each)(records);
      },
    });
    await untilProcessed(streams, each, { 0: 39 });
    // The third was being processed when the commit of the second got lost.
    expect(seen).toEqual([0, 10, 20, 10, 30]);
    expect(numbersOf(await fixture.readAll(each.output, 40))).toEqual(range(0, 40));
  });

  test('stop finishes the work in flight; the next processor continues after it', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams);
    await fill(streams, each.input, 0, 100);
    const [reached, release] = [deferred(), deferred()];
    const running = await start(streams, each, {
      maxBatch: 10,
      async process(records) {
        if (records[0]?.offset === 30) {
          reached.resolve();
          await release.promise;
        }
        return passThrough(each)(records);
      },
    });
    await reached.promise;
    const stopping = running.stop();
    release.resolve();
    await stopping;
    const done = await fixture.readAll(each.output, 30);
    expect([30, 40]).toContain(done.length);
    await start(fixture.open().streams, each);
    await untilProcessed(streams, each, { 0: 99 });
    expect(numbersOf(await fixture.readAll(each.output, 100))).toEqual(range(0, 100));
  });

  test('a fetched batch of 150,000 records is processed', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams);
    // Another client may write such a batch; this one uses kafkajs directly, without the limits around it.
    const producer = new kafkajs.Kafka({
      brokers: fixture.broker.brokers,
      logLevel: kafkajs.logLevel.NOTHING,
    }).producer();
    await producer.connect();
    await producer.send({
      topic: each.input,
      compression: kafkajs.CompressionTypes.GZIP,
      messages: Array.from({ length: 150_000 }, () => ({ value: 'v' })),
    });
    await producer.disconnect();
    let count = 0;
    await start(streams, each, {
      maxBatch: 50_000,
      process(records) {
        count += records.length;
        return Promise.resolve([]);
      },
    });
    await untilProcessed(streams, each, { 0: 149_999 });
    expect(count).toBe(150_000);
  });
});

describe('exactly once', () => {
  test.each([
    ['the answer to the commit', 'loseAnswer', apiKeys.endTxn],
    ['the commit itself', 'loseRequest', apiKeys.endTxn],
    ['the answer to the offsets', 'loseAnswer', apiKeys.txnOffsetCommit],
    ['the answer to the records', 'loseAnswer', apiKeys.produce],
    ['the records', 'loseRequest', apiKeys.produce],
    ['the answer to the takeover', 'loseAnswer', apiKeys.initProducerId],
    ['a fetched batch', 'loseAnswer', apiKeys.fetch],
  ] as const)('when %s gets lost', async (_what, kind, apiKey) => {
    const { streams, network } = fixture.open();
    const each = await pipe(streams);
    await fill(fixture.open().streams, each.input, 0, 200);
    let calls = 0;
    await start(streams, each, {
      maxBatch: 20,
      process(records) {
        calls++;
        // Not the first: kafkajs has nothing to lose before it.
        if (calls === 3 || apiKey === apiKeys.initProducerId) network[kind](apiKey);
        return passThrough(each)(records);
      },
    });
    if (apiKey === apiKeys.initProducerId) network[kind](apiKey);
    await untilProcessed(streams, each, { 0: 199 });
    expect(numbersOf(await fixture.readAll(each.output, 200))).toEqual(range(0, 200));
  });

  test('through an outage under load', async () => {
    const { streams, network } = fixture.open();
    const each = await pipe(streams, 4);
    const filler = fixture.open().streams;
    const running = await start(streams, each, { maxBatch: 50 });
    await fill(filler, each.input, 0, 2_000, 4);
    await eventually(() => running.status().ok);
    network.cut();
    await eventually(() => !running.status().ok);
    await fill(filler, each.input, 2_000, 4_000, 4);
    network.restore();
    await untilProcessed(filler, each, { 0: 999, 1: 999, 2: 999, 3: 999 });
    expect(numbersOf(await fixture.readAll(each.output, 4_000))).toEqual(range(0, 4_000));
  });

  test('while members come and go', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams, 4);
    await fill(streams, each.input, 0, 8_000, 4);
    const slowly = async (records: StreamRecord[]): Promise<NewRecord[]> => {
      await new Promise(setImmediate);
      return passThrough(each)(records);
    };
    const options = { maxBatch: 40, process: slowly, sessionTimeoutMs: 6_000, rebalanceTimeoutMs: 6_000 };
    const first = await start(fixture.open().streams, each, options);
    await eventually(() => first.status().ok);
    const second = await start(fixture.open().streams, each, options);
    await eventually(() => second.status().ok);
    await first.stop();
    await start(fixture.open().streams, each, options);
    await untilProcessed(streams, each, { 0: 1_999, 1: 1_999, 2: 1_999, 3: 1_999 });
    expect(numbersOf(await fixture.readAll(each.output, 8_000))).toEqual(range(0, 8_000));
  });

  test('an owner that resumes after its partition was reassigned commits nothing', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams);
    await fill(streams, each.input, 0, 20);
    const [stuck, release] = [deferred(), deferred()];
    const calls: number[] = [];
    const { streams: zombieStreams, network } = fixture.open();
    // Its next heartbeat is far off, so only the broker can tell it that it was replaced.
    await start(zombieStreams, each, {
      maxBatch: 10,
      sessionTimeoutMs: 60_000,
      heartbeatMs: 30_000,
      rebalanceTimeoutMs: 1_000,
      async process(records) {
        calls.push(records.length);
        if (calls.length === 1) {
          stuck.resolve();
          await release.promise;
        }
        return passThrough(each)(records);
      },
    });
    await stuck.promise;
    await start(fixture.open().streams, each, {
      sessionTimeoutMs: 6_000,
      rebalanceTimeoutMs: 1_000,
    });
    await untilProcessed(streams, each, { 0: 19 });
    expect(network.requests.get(apiKeys.addPartitionsToTxn)).toBeUndefined();
    release.resolve();
    // More than once if the broker is still ending the new owner's transaction, and asks for a retry.
    await eventually(() => (network.requests.get(apiKeys.addPartitionsToTxn) ?? 0) > 0);
    await fill(streams, each.input, 20, 30);
    await untilProcessed(streams, each, { 0: 29 });
    expect(numbersOf(await fixture.readAll(each.output, 30))).toEqual(range(0, 30));
  });

  test('partitions added later are processed', async () => {
    const { streams } = fixture.open();
    const each = await pipe(streams);
    await fill(streams, each.input, 0, 10);
    await start(streams, each, { refreshMs: 200 });
    await untilProcessed(streams, each, { 0: 9 });
    const client = await ContractClient.start(fixture.broker);
    await (await client.admin()).createPartitions({ topicPartitions: [{ topic: each.input, count: 2 }] });
    await client.close();
    const producer = await fixture.open().streams.createProducer();
    const [position] = await producer.send([
      { topic: each.input, key: null, partition: 1, value: Buffer.from('10') },
    ]);
    expect(position).toMatchObject({ partition: 1, offset: 0 });
    await untilProcessed(streams, each, { 1: 0 });
    expect(numbersOf(await fixture.readAll(each.output, 11))).toEqual(range(0, 11));
  });

  test('waits for a topic that does not exist yet', async () => {
    const { streams } = fixture.open();
    const each = { input: unique('later'), output: await fixture.topic(streams), groupId: unique('group') };
    const running = await start(streams, each);
    await eventually(() => running.status().lastError !== undefined);
    await streams.createTopics([{ name: each.input, partitions: 1 }]);
    await fill(streams, each.input, 0, 5);
    await untilProcessed(streams, each, { 0: 4 });
    expect(numbersOf(await fixture.readAll(each.output, 5))).toEqual(range(0, 5));
  });
});

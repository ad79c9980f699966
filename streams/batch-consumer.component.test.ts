import type { Transaction } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContractClient, deferred, eventually, unique } from '../tests/contract/client.js';
import { apiKeys } from '../tests/contract/flaky-network.js';
import { numbered, numbersOf, range, StreamsFixture } from '../tests/contract/streams-fixture.js';
import { MillraceError } from '../platform/errors.js';
import { listening } from '../tests/contract/listening-logger.js';
import type { BatchConsumerOptions } from './batch-consumer.js';
import type { Consumption } from './consumption.js';
import { untilCommitted } from './testing/until-committed.js';
import type { StreamRecord } from './records.js';
import type { Streams } from './streams.js';

let fixture: StreamsFixture;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterAll(() => fixture.close());

async function filled(streams: Streams, count: number, partitions = 1): Promise<string> {
  const topic = await fixture.topic(streams, partitions);
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, count, partitions));
  return topic;
}

interface Running {
  consumption: Consumption;
  batches: StreamRecord[][];
}

async function collect(streams: Streams, options: Omit<BatchConsumerOptions, 'handle'>): Promise<Running> {
  const batches: StreamRecord[][] = [];
  const consumption = await streams.consume({
    ...options,
    handle(records) {
      batches.push(records);
      return Promise.resolve();
    },
  });
  return { consumption, batches };
}

const outage = (): MillraceError => new MillraceError('CLICKHOUSE_UNAVAILABLE', 'the table is away');

describe('consume', () => {
  test('collects records of many small fetches and partitions into large batches', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 10_000, 4);
    const { batches } = await collect(streams, {
      groupId: unique('group'),
      topics: [topic],
      maxBatch: 5_000,
      maxWaitMs: 50_000,
    });
    await eventually(() => batches.flat().length === 10_000);
    expect(batches.map((batch) => batch.length)).toEqual([5_000, 5_000]);
    for (let partition = 0; partition < 4; partition++) {
      const offsets = batches
        .flat()
        .flatMap((record) => (record.partition === partition ? [record.offset] : []));
      expect(offsets).toEqual(range(0, 2_500));
    }
  });

  test('holds records back for no longer than configured', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 3);
    const groupId = unique('group');
    const { batches } = await collect(streams, { groupId, topics: [topic], maxWaitMs: 20 });
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 2 } });
    expect(batches.flat()).toHaveLength(3);
  });

  test.each([
    [1, new MillraceError('LOG_UNAUTHORIZED', 'not allowed')],
    [2, new MillraceError('LOG_UNAUTHORIZED', 'not allowed')],
    [1, new RangeError('a fault of the program')],
  ])(
    'a partition with a permanent error blocks no other, is reported, and recovers (%s calls at once, %s)',
    async (concurrentCalls, error) => {
      const told: object[] = [];
      const { streams } = fixture.open(
        listening((level, details, message) => told.push({ level, message, ...details })),
      );
      const topic = await filled(streams, 300, 3);
      const groupId = unique('group');
      let isBroken = true;
      const handled: StreamRecord[] = [];
      const consumption = await streams.consume({
        groupId,
        topics: [topic],
        maxBatch: 40,
        maxWaitMs: 10,
        concurrentCalls,
        async handle(records) {
          await new Promise(setImmediate);
          if (isBroken && records.some(({ partition, offset }) => partition === 1 && offset === 50))
            throw error;
          handled.push(...records);
        },
      });
      await untilCommitted(streams, { groupId, topic, offsets: { 0: 99, 2: 99 } });
      await eventually(() => !consumption.status().ok);
      const producer = await streams.createProducer();
      await producer.send(numbered(topic, 300, 600, 3));
      await untilCommitted(streams, { groupId, topic, offsets: { 0: 199, 2: 199 } });
      expect(consumption.status()).toMatchObject({ ok: false, lastError: error.message });
      expect((await streams.committed(groupId, topic)).get(1) ?? 0).toBeLessThanOrEqual(50);
      expect(told).toContainEqual(
        expect.objectContaining({
          level: 'error',
          message: 'Handling fails for good; the partition waits until the cause is fixed',
          topic,
          partition: 1,
        }),
      );
      isBroken = false;
      await untilCommitted(streams, { groupId, topic, offsets: { 1: 199 } });
      await eventually(() => consumption.status().ok);
      expect(new Set(handled.map(({ value }) => Number(value)))).toEqual(new Set(range(0, 600)));
    },
  );

  test('commits handled records, and no others', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 30);
    const groupId = unique('group');
    const [reached, release] = [deferred(), deferred()];
    let calls = 0;
    const consumption = await streams.consume({
      groupId,
      topics: [topic],
      maxBatch: 10,
      async handle() {
        calls++;
        if (calls < 3) return;
        reached.resolve();
        await release.promise;
      },
    });
    await reached.promise;
    await eventually(async () => (await streams.lag(groupId, [topic]))[0]?.committed === 20);
    release.resolve();
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 29 } });
    await consumption.stop();
    const next = await collect(fixture.open().streams, { groupId, topics: [topic] });
    const producer = await streams.createProducer();
    await producer.send(numbered(topic, 30, 31));
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 30 } });
    expect(numbersOf(next.batches.flat())).toEqual([30]);
  });

  test('calls may overlap; records handled early are committed in order, or not at all', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 40);
    const groupId = unique('group');
    const [third, release] = [deferred(), deferred()];
    const seen: number[][] = [];
    const committed = async (): Promise<number | undefined> =>
      (await streams.lag(groupId, [topic]))[0]?.committed;
    const consumption = await streams.consume({
      groupId,
      topics: [topic],
      maxBatch: 10,
      concurrentCalls: 2,
      async handle(records) {
        seen.push(numbersOf(records));
        if (seen.length === 3) third.resolve();
        if (records[0]?.offset !== 10) return;
        await release.promise;
        throw outage();
      },
    });
    await third.promise;
    expect(seen).toEqual([range(0, 10), range(10, 20), range(20, 30)]);
    await eventually(async () => (await committed()) === 10);
    const stopped = consumption.stop();
    release.resolve();
    await stopped;
    expect(await committed()).toBe(10);
    const next = await collect(fixture.open().streams, { groupId, topics: [topic], maxWaitMs: 10 });
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 39 } });
    expect(numbersOf(next.batches.flat())).toEqual(range(10, 40));
  });

  test('a concurrent call can wait for earlier ones, even while they are retried', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 20);
    const later = deferred();
    const ended: number[] = [];
    let failures = 2;
    await streams.consume({
      groupId: unique('group'),
      topics: [topic],
      maxBatch: 10,
      concurrentCalls: 2,
      async handle([first], earlier) {
        if (first?.offset === 10) {
          later.resolve();
          await earlier;
        } else {
          await later.promise;
          if (failures-- > 0) throw outage();
        }
        ended.push(first?.offset ?? -1);
      },
    });
    await eventually(() => ended.length === 2);
    expect(ended).toEqual([0, 10]);
  });

  test('the same records are retried until they are handled; status reports it', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 10);
    const seen: number[][] = [];
    let failures = 3;
    const groupId = unique('group');
    const consumption = await streams.consume({
      groupId,
      topics: [topic],
      maxBatch: 10,
      handle(records) {
        seen.push(numbersOf(records));
        return failures-- > 0 ? Promise.reject(outage()) : Promise.resolve();
      },
    });
    await eventually(
      () => consumption.status().lastError === 'the table is away' && !consumption.status().ok,
    );
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 9 } });
    expect(seen).toEqual(Array(4).fill(range(0, 10)));
    await eventually(() => consumption.status().ok);
  });

  test('reads no further ahead than two batches of a blocked handler', async () => {
    const { streams, network } = fixture.open();
    const topic = await filled(fixture.open().streams, 20_000);
    const release = deferred();
    const handled: number[] = [];
    const groupId = unique('group');
    await streams.consume({
      groupId,
      topics: [topic],
      maxBatch: 100,
      sessionTimeoutMs: 6_000,
      async handle(records) {
        handled.push(records.length);
        await release.promise;
      },
    });
    // Heartbeats continue meanwhile, so it stays a member.
    await eventually(() => (network.requests.get(apiKeys.heartbeat) ?? 0) >= 2);
    expect(handled).toEqual([100]);
    release.resolve();
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 19_999 } });
    expect(handled.reduce((sum, length) => sum + length, 0)).toBe(20_000);
  });

  test('stop handles and commits the records that were read', async () => {
    const { streams } = fixture.open();
    const topic = await filled(streams, 500, 2);
    const groupId = unique('group');
    const { consumption, batches } = await collect(streams, {
      groupId,
      topics: [topic],
      maxBatch: 10_000,
      maxWaitMs: 60_000,
    });
    await eventually(() => consumption.status().ok);
    await consumption.stop();
    const committed = (await streams.lag(groupId, [topic])).reduce(
      (sum, each) => sum + Math.max(0, each.committed),
      0,
    );
    expect(batches.flat()).toHaveLength(committed);
    const next = await collect(fixture.open().streams, { groupId, topics: [topic], maxWaitMs: 10 });
    await untilCommitted(streams, { groupId, topic, offsets: { 0: 249, 1: 249 } });
    expect(numbersOf([...batches.flat(), ...next.batches.flat()])).toEqual(range(0, 500));
  });

  test('messages of overlapping aborted transactions are never visible, wherever reading starts', async () => {
    const { streams } = fixture.open();
    const topic = await fixture.topic(streams);
    const client = await ContractClient.start(fixture.broker);
    const begin = async (): Promise<Transaction> =>
      (await client.producer({ transactionalId: unique('txn') })).transaction();
    const [first, second] = [await begin(), await begin()];
    const send = (transaction: Transaction, value: string): Promise<unknown> =>
      transaction.send({ topic, messages: [{ key: Buffer.alloc(4), value }] });
    await send(first, 'dropped');
    await send(second, 'dropped');
    await send(first, 'dropped');
    await send(second, 'dropped');
    // Apache Kafka lists the second one first.
    await second.abort();
    await first.abort();
    await (await client.producer()).send({ topic, messages: [{ value: 'kept' }] });
    for (let offset = 0; offset < 4; offset++) {
      const groupId = unique('group');
      await client.commitOffset(groupId, topic, offset);
      const { batches } = await collect(streams, { groupId, topics: [topic], maxWaitMs: 5 });
      await eventually(() => batches.length > 0);
      expect(batches.flat().map((record) => record.value?.toString())).toEqual(['kept']);
    }
    await client.close();
  });

  test('an outage loses nothing', async () => {
    const { streams, network } = fixture.open();
    const topic = await filled(fixture.open().streams, 5_000, 2);
    const seen = new Set<number>();
    const groupId = unique('group');
    await streams.consume({
      groupId,
      topics: [topic],
      maxBatch: 100,
      handle(records) {
        for (const record of records) seen.add(Number(record.value));
        if (seen.size > 1_000 && network.requests.size > 0) {
          network.cut();
          network.requests.clear();
          setImmediate(() => network.restore());
        }
        return Promise.resolve();
      },
    });
    await untilCommitted(streams, {
      groupId,
      topic,
      offsets: { 0: 2_499, 1: 2_499 },
      timeoutMs: 50_000,
    });
    expect([...seen].toSorted((a, b) => a - b)).toEqual(range(0, 5_000));
  });
});

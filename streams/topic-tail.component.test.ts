import type { Admin } from 'kafkajs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, unique } from '../tests/contract/client.js';
import { numbered, numbersOf, range, StreamsFixture } from '../tests/contract/streams-fixture.js';
import { kafkajs } from './kafkajs.js';
import type { StreamRecord } from './records.js';

let fixture: StreamsFixture;
let admin: Admin;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
  const { brokers } = fixture.broker;
  admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
});
afterAll(async () => {
  await admin.disconnect();
  await fixture.close();
});

test('reads a topic from its beginning, tells when it is at the end, and continues', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams, 3);
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 100, 3));
  const seen: StreamRecord[] = [];
  const follower = await streams.follow({ topics: [topic], handle: (records) => void seen.push(...records) });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  expect(numbersOf(seen)).toEqual(range(0, 100));
  await producer.send(numbered(topic, 100, 200, 3));
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  expect(numbersOf(seen)).toEqual(range(0, 200));
});

test('two tails each read everything', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams);
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 10));
  const counts = [0, 0];
  const followers = await Promise.all(
    counts.map((_, index) =>
      streams.follow({
        topics: [topic],
        handle: (records) => void (counts[index] = (counts[index] ?? 0) + records.length),
      }),
    ),
  );
  await Promise.all(followers.map((follower) => follower.whenCaughtUp({ timeoutMs: 20_000 })));
  expect(counts).toEqual([10, 10]);
});

test('is at the end of topics that are empty or end with transaction markers', async () => {
  const { streams } = fixture.open();
  const [empty, marked] = [await fixture.topic(streams), await fixture.topic(streams)];
  const producer = await streams.createTransactionalProducer(unique('transactions'));
  await producer.commit(numbered(marked, 0, 5));
  const follower = await streams.follow({ topics: [empty, marked], handle: () => undefined });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  await producer.commit(numbered(marked, 5, 6));
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  expect(follower.status().ok).toBe(true);
});

test('is not at the end while committed records are behind an open transaction', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams);
  const transaction = await fixture.openTransaction(topic);
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 5));
  const seen: StreamRecord[] = [];
  const follower = await streams.follow({ topics: [topic], handle: (records) => void seen.push(...records) });
  await expect(follower.whenCaughtUp({ timeoutMs: 500 })).rejects.toMatchObject({
    code: 'LOG_UNAVAILABLE',
    retriable: true,
  });
  const caughtUp = follower.whenCaughtUp({ timeoutMs: 20_000 });
  await transaction.abort();
  await caughtUp;
  expect(numbersOf(seen)).toEqual(range(0, 5));
});

test('passes failed records again, and none twice after an outage', async () => {
  const { streams, network } = fixture.open();
  const topic = await fixture.topic(streams);
  const { streams: others } = fixture.open();
  const producer = await others.createProducer();
  await producer.send(numbered(topic, 0, 50));
  const seen: StreamRecord[] = [];
  let failures = 1;
  const follower = await streams.follow({
    topics: [topic],
    handle: (records) => {
      if (failures-- > 0) throw new Error('not yet');
      seen.push(...records);
    },
  });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  network.cut();
  await producer.send(numbered(topic, 50, 100));
  network.restore();
  await eventually(() => seen.length >= 100);
  expect(numbersOf(seen)).toEqual(range(0, 100));
});

test('joins no group, so that no lag is reported', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams);
  const groups = async (): Promise<string[]> =>
    (await admin.listGroups()).groups.map(({ groupId }) => groupId);
  const before = await groups();
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 5));
  const seen: StreamRecord[] = [];
  const follower = await streams.follow({ topics: [topic], handle: (records) => void seen.push(...records) });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  expect(numbersOf(seen)).toEqual(range(0, 5));
  expect(await groups()).toEqual(before);
});

test('begins after deleted records, and continues after those deleted while it was disconnected', async () => {
  const { streams, network } = fixture.open();
  const topic = await fixture.topic(streams, 3);
  const { streams: others } = fixture.open();
  const producer = await others.createProducer();
  const deleteUpTo = async (partition: number, offset: number): Promise<void> => {
    // kafkajs' admin looks for the leader in its cached metadata.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
  };
  await producer.send(numbered(topic, 0, 30, 3));
  await deleteUpTo(1, 4);
  const seen: StreamRecord[] = [];
  await streams.follow({ topics: [topic], handle: (records) => void seen.push(...records) });
  // Partition 1 has 1, 4, 7, 10, 13, …
  const first = range(0, 30).filter((number) => number % 3 !== 1 || number > 10);
  await expect.poll(() => numbersOf(seen)).toEqual(first);
  network.cut();
  await producer.send(numbered(topic, 30, 60, 3));
  await deleteUpTo(2, 15);
  network.restore();
  // Partition 2 has 2, 5, 8, …, 44 at offset 14, 47, …
  const second = range(30, 60).filter((number) => number % 3 !== 2 || number > 44);
  await expect.poll(() => numbersOf(seen)).toEqual([...first, ...second]);
});

test('finds added partitions', async () => {
  const { streams, network } = fixture.open();
  const topic = await fixture.topic(streams, 1);
  const seen: StreamRecord[] = [];
  const follower = await streams.follow({ topics: [topic], handle: (records) => void seen.push(...records) });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  await expect.poll(() => follower.status().ok).toBe(true);
  await admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] });
  // It checks every 30 s, and whenever it connects.
  network.cut();
  network.restore();
  const { streams: others } = fixture.open();
  const producer = await others.createProducer();
  await producer.send(numbered(topic, 0, 10, 2));
  await expect.poll(() => numbersOf(seen)).toEqual(range(0, 10));
});

test('a partition with failing records blocks no other, and is reported', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams, 3);
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 30, 3));
  const seen: StreamRecord[] = [];
  let isBroken = true;
  const follower = await streams.follow({
    topics: [topic],
    handle: (records) => {
      if (isBroken && records[0]?.partition === 1) throw new Error('not this one');
      seen.push(...records);
    },
  });
  const others = (to: number): number[] => range(0, to).filter((number) => number % 3 !== 1);
  await expect.poll(() => numbersOf(seen)).toEqual(others(30));
  await producer.send(numbered(topic, 30, 60, 3));
  await expect.poll(() => numbersOf(seen)).toEqual(others(60));
  expect(follower.status()).toMatchObject({ ok: false, lastError: 'not this one' });
  isBroken = false;
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  expect(numbersOf(seen)).toEqual(range(0, 60));
  await expect.poll(() => follower.status().ok).toBe(true);
});

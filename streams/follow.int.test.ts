import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, unique } from '../tests/contract/client.js';
import { numbered, numbersOf, range, StreamsFixture } from '../tests/contract/streams-fixture.js';
import type { StreamRecord } from './records.js';

let fixture: StreamsFixture;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterAll(() => fixture.close());

test('reads a topic from its beginning, says when it is at the end, and goes on', async () => {
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

test('two of them see everything, each for itself', async () => {
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

test('is at the end of topics that are empty or end with the marks of transactions', async () => {
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

test('is not at the end while what is committed stands behind an open transaction', async () => {
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

test('hands records that could not be handled again, and none twice after an outage', async () => {
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

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { eventually, unique } from '../tests/contract/client.js';
import { numbered, range, StreamsFixture } from '../tests/contract/streams-fixture.js';
import { TwoBrokers } from '../tests/contract/two-brokers.js';
import type { LogProducer } from './log-producer.js';
import { kafkajs } from './kafkajs.js';
import type { StreamRecord } from './records.js';
import { createStreams, type Streams } from './streams.js';

let fixture: StreamsFixture;
let proxy: TwoBrokers;
let streams: Streams;
let producer: LogProducer;
let topic: string;

beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
beforeEach(async () => {
  proxy = await TwoBrokers.start(Number(fixture.broker.brokers[0]?.split(':')[1]));
  topic = await fixture.topic(fixture.open().streams, 4);
  streams = createStreams({
    brokers: proxy.brokers,
    clientId: 'two-brokers',
    logger: silentLogger,
    timeoutMs: 1_000,
  });
  producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 4, 4));
});
afterEach(async () => {
  proxy.first.restore();
  proxy.second.restore();
  await streams.close();
  await proxy.stop();
});
afterAll(() => fixture.close());

/** The numbers in each partition, in order. */
function byPartition(records: StreamRecord[]): number[][] {
  return range(0, 4).map((partition) =>
    records.filter((record) => record.partition === partition).map(({ value }) => Number(value)),
  );
}

/** Asserts that every number is there once, in order, in its partition. */
function upTo(count: number): number[][] {
  return range(0, 4).map((partition) => range(0, count).filter((number) => number % 4 === partition));
}

test.each(['cut', 'hang', 'loseAnswers'] as const)(
  'while one of two brokers fails (%s) the other’s partitions continue, and in the end each record is there once, in order',
  async (fault) => {
    proxy.second[fault]();
    // Calls that span both brokers.
    const held = range(1, 10).map((round) => producer.sendEach(numbered(topic, round * 4, round * 4 + 4, 4)));
    // These wait for the first broker only, and come after the calls' records for its partitions.
    const even = await producer.send(numbered(topic, 40, 44, 4).filter((_, index) => index % 2 === 0));
    expect(even.map(({ partition }) => partition)).toEqual([0, 2]);
    expect(proxy.first.produced).toBeGreaterThan(0);
    if (fault === 'loseAnswers') {
      const before = proxy.second.produced;
      await eventually(() => proxy.second.produced > before + 1);
    }
    proxy.second.restore();
    const odd = numbered(topic, 40, 44, 4).filter((_, index) => index % 2 === 1);
    await producer.send(odd);
    const outcomes = (await Promise.all(held)).flat();
    expect(outcomes.filter((outcome) => 'code' in outcome)).toEqual([]);
    expect(byPartition(await fixture.readAll(topic, 44))).toEqual(upTo(44));
  },
);

test.each(['cut', 'hang'] as const)(
  'while one of two brokers fails (%s) the other’s partitions are followed, and in the end all, each record once',
  async (fault) => {
    const seen: StreamRecord[] = [];
    const follower = await streams.follow({
      topics: [topic],
      handle: (records) => void seen.push(...records),
    });
    await follower.whenCaughtUp({ timeoutMs: 20_000 });
    proxy.second[fault]();
    // Directly to the broker behind both.
    const direct = await fixture.open().streams.createProducer();
    await direct.send(numbered(topic, 4, 44, 4));
    const even = upTo(44).map((numbers, partition) => (partition % 2 === 0 ? numbers : [partition]));
    await expect.poll(() => byPartition(seen)).toEqual(even);
    await direct.send(numbered(topic, 44, 84, 4));
    await expect.poll(() => byPartition(seen)[2]).toEqual(upTo(84)[2]);
    proxy.second.restore();
    await expect.poll(() => byPartition(seen)).toEqual(upTo(84));
    await expect.poll(() => follower.status().ok).toBe(true);
  },
);

test('when following, a partition without a leader blocks no other, and is read once it has one', async () => {
  proxy.leaders.set(`${topic}/1`, -1);
  const seen: StreamRecord[] = [];
  const follower = await streams.follow({
    topics: [topic],
    handle: (records) => void seen.push(...records),
  });
  const others = upTo(24).map((numbers, partition) => (partition === 1 ? [] : numbers));
  const direct = await fixture.open().streams.createProducer();
  await direct.send(numbered(topic, 4, 24, 4));
  await expect.poll(() => byPartition(seen)).toEqual(others);
  expect(follower.status().ok).toBe(false);
  proxy.leaders.clear();
  await expect.poll(() => byPartition(seen)).toEqual(upTo(24));
  await expect.poll(() => follower.status().ok).toBe(true);
});

test('a partition without a leader blocks no other, and continues when it has one', async () => {
  proxy.leaders.set(`${topic}/1`, -1);
  const fresh = await streams.createProducer();
  const held = fresh.send(numbered(topic, 4, 24, 4).filter(({ partition }) => partition === 1));
  await fresh.send(numbered(topic, 4, 24, 4).filter(({ partition }) => partition !== 1));
  proxy.leaders.clear();
  expect(await held).toHaveLength(5);
  expect(byPartition(await fixture.readAll(topic, 24))).toEqual(upTo(24));
});

test('a topic that is deleted under the producer blocks no other, and accepts records when it is recreated', async () => {
  const admin = new kafkajs.Kafka({
    brokers: fixture.broker.brokers,
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin();
  const doomed = await fixture.topic(fixture.open().streams, 4);
  await producer.send(numbered(doomed, 0, 4, 4));
  await admin.deleteTopics({ topics: [doomed] });
  const gaveUp = await producer.sendEach(numbered(doomed, 4, 8, 4), { timeoutMs: 300 });
  expect(gaveUp.map((outcome) => 'code' in outcome && outcome.code)).toEqual(Array(4).fill('LOG_TIMEOUT'));
  const held = producer.send(numbered(doomed, 8, 12, 4));
  for (const round of range(1, 6)) await producer.send(numbered(topic, round * 4, round * 4 + 4, 4));
  await fixture.open().streams.createTopics([{ name: doomed, partitions: 4 }]);
  await held;
  // Abandoned records had certainly not been written, and are not written later.
  const records = await fixture.readAll(doomed, 4);
  expect(records.map(({ value }) => Number(value)).toSorted((a, b) => a - b)).toEqual(range(8, 12));
  expect(byPartition(await fixture.readAll(topic, 24))).toEqual(upTo(24));
  await admin.disconnect();
});

test('when a topic’s limit is lowered, records that fit are written, and the rest refused', async () => {
  const small = unique('small');
  await fixture
    .open()
    .streams.createTopics([{ name: small, partitions: 1, config: { 'max.message.bytes': '2000' } }]);
  const sent = range(0, 200).map((number) => ({
    topic: small,
    key: null,
    value: Buffer.from(String(number).padStart(number % 50 === 7 ? 3_000 : 300, '0')),
  }));
  const outcomes = await producer.sendEach(sent);
  const refused = outcomes.flatMap((outcome, index) => ('code' in outcome ? [[index, outcome.code]] : []));
  expect(refused).toEqual([7, 57, 107, 157].map((index) => [index, 'RECORD_TOO_LARGE']));
  const records = await fixture.readAll(small, 196);
  expect(records.map(({ value }) => Number(value))).toEqual(range(0, 200).filter((each) => each % 50 !== 7));
});

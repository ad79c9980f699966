import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KafkaBroker } from '../embedded/kafka/broker.js';
import type { Interceptor } from '../embedded/kafka/network/interceptors.js';
import { silentLogger } from '../platform/logger.js';
import { deferred } from '../tests/contract/client.js';
import { apiKeys } from '../tests/contract/flaky-network.js';
import { numbered, range } from '../tests/contract/streams-fixture.js';
import { TwoBrokers } from '../tests/contract/two-brokers.js';
import { createStreams, type Streams } from './streams.js';
import { untilCommitted } from './testing/until-committed.js';

const notLeader = 6;
const concurrentTransactions = 51;

let folder: string;
let broker: KafkaBroker;
let proxy: TwoBrokers;
let streams: Streams;
/** Sees all partitions and leaders as they are. */
let direct: Streams;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-leaders-'));
  broker = new KafkaBroker({ dataDir: folder, port: 0 });
  const { port } = await broker.start();
  proxy = await TwoBrokers.start(port);
  streams = createStreams({ brokers: proxy.brokers, clientId: 'test', logger: silentLogger });
  direct = createStreams({ brokers: [`127.0.0.1:${port}`], clientId: 'direct', logger: silentLogger });
  await streams.createTopics([
    { name: 'in', partitions: 1 },
    { name: 'out', partitions: 2 },
  ]);
});

afterEach(async () => {
  await streams.close();
  await direct.close();
  await proxy.stop();
  await broker.stop();
  await rm(folder, { recursive: true, force: true });
});

interface RequestOfPartitions {
  topics: { name: string; partitions: (number | { index: number })[] }[];
}

/** Decides on each request that concerns a partition of `out` or `in2`, by its place among them. */
function onRequest(
  apiKey: number,
  partition: number,
  judge: (place: number) => ReturnType<Interceptor>,
): void {
  let place = 0;
  broker.intercept(apiKey, ({ body }) => {
    const { topics } = body as RequestOfPartitions;
    const concerns = topics.some(
      ({ name, partitions }) =>
        name !== 'in' &&
        partitions.some((each) => (typeof each === 'number' ? each : each.index) === partition),
    );
    return concerns ? judge(place++) : undefined;
  });
}

/**
 * Writes half of these records to each partition of `out`, by transactions, the last two when the others are
 * committed.
 *
 * @returns what is committed there.
 */
async function process({ count = 4, maxBatch = 10 } = {}): Promise<number[]> {
  const producer = await streams.createProducer();
  await producer.send(numbered('in', 0, count - 2));
  await streams.transform({
    groupId: 'g',
    topics: ['in'],
    maxBatch,
    process: (records) =>
      Promise.resolve(
        records.map(({ key, value }) => ({ topic: 'out', partition: Number(value) % 2, key, value })),
      ),
  });
  await untilCommitted(direct, { groupId: 'g', topic: 'in', offsets: { 0: count - 3 } });
  await producer.send(numbered('in', count - 2, count));
  await untilCommitted(direct, { groupId: 'g', topic: 'in', offsets: { 0: count - 1 } });
  const numbers: number[] = [];
  const follower = await direct.follow({
    topics: ['out'],
    handle: (records) => void numbers.push(...records.map(({ value }) => Number(value))),
  });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  return numbers.toSorted((a, b) => a - b);
}

test('no record is written twice when one leader refuses before another is written to', async () => {
  let retried = false;
  onRequest(apiKeys.produce, 0, (place) => {
    retried ||= place > 0;
    return place === 0 ? { errorCode: notLeader } : undefined;
  });
  onRequest(apiKeys.addPartitionsToTxn, 1, () =>
    retried ? undefined : { errorCode: concurrentTransactions },
  );
  expect(await process()).toEqual(range(0, 4));
});

test.each([
  ['no record is left out when its new leader has answered before', 1, 1],
  ['no record is written twice when another leader has it now', 0, 2],
] as const)('%s', async (_, moved, leader) => {
  const written = deferred();
  onRequest(apiKeys.produce, 0, () => written.resolve());
  onRequest(apiKeys.produce, 1, async (place) => {
    if (place > 0) return undefined;
    await written.promise;
    proxy.leaders.set(`out/${moved}`, leader);
    return { errorCode: notLeader };
  });
  expect(await process()).toEqual(range(0, 4));
});

test('no record is written again while the brokers do not know of its partition', async () => {
  // Once the member has been told of it.
  broker.intercept(apiKeys.fetch, () => void proxy.unknown.add('in/0'));
  let ended = 0;
  broker.intercept(apiKeys.endTxn, () => (++ended === 2 ? 'drop-answer' : undefined));
  expect(await process({ count: 6, maxBatch: 2 })).toEqual(range(0, 6));
  expect(ended).toBe(3);
});

test.each([0, 1])(
  'no record is left out while the brokers do not know of its partition %i',
  async (partition) => {
    proxy.unknown.add(`out/${partition}`);
    let tries = 0;
    broker.intercept(apiKeys.initProducerId, ({ body }) => {
      const { transactionalId } = body as { transactionalId: string | null };
      if (transactionalId !== null && ++tries === 3) proxy.unknown.clear();
    });
    expect(await process()).toEqual(range(0, 4));
    expect(tries).toBeGreaterThan(2);
  },
);

test('no record is left out by a consumer that joins again while its other leader’s records are read', async () => {
  await streams.createTopics([{ name: 'in2', partitions: 2 }]);
  const producer = await streams.createProducer();
  const sent = numbered('in2', 0, 200).map((record) => ({ ...record, partition: 0 }));
  await producer.send(sent);
  let [calls, beats, refused] = [0, 0, false];
  broker.intercept(apiKeys.heartbeat, () => void beats++);
  onRequest(apiKeys.fetch, 1, () => {
    if (calls < 3 || refused) return undefined;
    refused = true;
    beats = 0;
    return { errorCode: notLeader };
  });
  const seen: number[] = [];
  await streams.consume({
    groupId: 'g',
    topics: ['in2'],
    maxBatch: 10,
    async handle(records) {
      seen.push(...records.map(({ value }) => Number(value)));
      if (++calls !== 3) return;
      // The records that were read meanwhile wait. By then the member would have joined.
      await expect.poll(() => refused && beats > 2).toBe(true);
    },
  });
  await untilCommitted(direct, { groupId: 'g', topic: 'in2', offsets: { 0: 199 } });
  expect([...new Set(seen)].toSorted((a, b) => a - b)).toEqual(range(0, 200));
});

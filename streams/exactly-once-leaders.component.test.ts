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

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-leaders-'));
  broker = new KafkaBroker({ dataDir: folder, port: 0 });
  proxy = await TwoBrokers.start((await broker.start()).port);
  streams = createStreams({ brokers: proxy.brokers, clientId: 'test', logger: silentLogger });
  await streams.createTopics([
    { name: 'in', partitions: 1 },
    { name: 'out', partitions: 2 },
  ]);
});

afterEach(async () => {
  await streams.close();
  await proxy.stop();
  await broker.stop();
  await rm(folder, { recursive: true, force: true });
});

interface RequestOfPartitions {
  topics: { name: string; partitions: (number | { index: number })[] }[];
}

/** Decides on each request that concerns a partition of `out`, by its place among them. */
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
        name === 'out' &&
        partitions.some((each) => (typeof each === 'number' ? each : each.index) === partition),
    );
    return concerns ? judge(place++) : undefined;
  });
}

/** Writes two records to each partition of `out`, by a transaction, and returns what is committed there. */
async function process(): Promise<number[]> {
  const producer = await streams.createProducer();
  await producer.send(numbered('in', 0, 4));
  await streams.transform({
    groupId: 'g',
    topics: ['in'],
    process: (records) =>
      Promise.resolve(
        records.map(({ key, value }) => ({ topic: 'out', partition: Number(value) % 2, key, value })),
      ),
  });
  await untilCommitted(streams, { groupId: 'g', topic: 'in', offsets: { 0: 3 } });
  const numbers: number[] = [];
  const follower = await streams.follow({
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

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KafkaBroker } from '../embedded/kafka/broker.js';
import { silentLogger } from '../platform/logger.js';
import { createStreams, type Streams } from './streams.js';
import { untilCommitted } from './testing/until-committed.js';

let folder: string;
let broker: KafkaBroker;
let streams: Streams;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-coordinators-'));
  broker = new KafkaBroker({ dataDir: folder, port: 0 });
  const { port } = await broker.start();
  streams = createStreams({ brokers: [`127.0.0.1:${port}`], clientId: 'test', logger: silentLogger });
  await streams.createTopics([
    { name: 'in', partitions: 1 },
    { name: 'out', partitions: 1 },
  ]);
});

afterEach(async () => {
  await streams.close();
  await broker.stop();
  await rm(folder, { recursive: true, force: true });
});

const requests = [
  ['a partition that joins', 24],
  ['the offsets that join', 25],
  ['the end', 26],
  ['the offsets', 28],
] as const;
const refusals = [
  ['the last transaction is still ending', 51],
  ['the coordinator is loading', 14],
  ['the coordinator is not known yet', 15],
  ['another broker coordinates', 16],
] as const;

test.each(
  requests.flatMap(([request, apiKey]) =>
    refusals.map(([why, errorCode]) => ({ request, apiKey, why, errorCode })),
  ),
)(
  'processes no record again when $request of a transaction must wait: $why',
  async ({ apiKey, errorCode }) => {
    const producer = await streams.createProducer();
    const values = ['0', '1', '2', '3', '4', '5'];
    await producer.send(values.map((value) => ({ topic: 'in', key: null, value: Buffer.from(value) })));
    let refused = 0;
    broker.intercept(apiKey, () => (++refused % 3 === 0 ? undefined : { errorCode }));
    const processed: (string | undefined)[] = [];
    await streams.transform({
      groupId: 'g',
      topics: ['in'],
      maxBatch: 2,
      process(records) {
        for (const { value } of records) processed.push(value?.toString());
        return Promise.resolve(records.map(({ key, value }) => ({ topic: 'out', key, value })));
      },
    });
    await untilCommitted(streams, { groupId: 'g', topic: 'in', offsets: { 0: 5 } });
    expect(processed).toEqual(values);
    expect(refused).toBe(9);
  },
);

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContractClient, errorType, eventually } from './client.js';
import type { RawBroker } from './client.js';

let client: ContractClient;
let raw: RawBroker;
beforeAll(async () => {
  client = await ContractClient.start();
  raw = await client.rawBroker();
});
afterAll(() => client.close());

interface Batch {
  topic: string;
  firstSequence: number;
  values: string[];
  producer: { producerId: string; producerEpoch: number };
}

/** Sends one batch as an idempotent producer would, and returns its base offset. */
async function produce({ topic, firstSequence, values, producer }: Batch): Promise<number> {
  const { topics } = await raw.produce({
    ...producer,
    topicData: [
      { topic, partitions: [{ partition: 0, firstSequence, messages: values.map((value) => ({ value })) }] },
    ],
  });
  return Number(topics[0]?.partitions[0]?.baseOffset);
}

const newProducer = (): ReturnType<RawBroker['initProducerId']> =>
  eventually(() => raw.initProducerId({ transactionTimeout: 60_000 }));

describe('idempotent producer', () => {
  test('each gets its own id', async () => {
    const ids = [(await newProducer()).producerId, (await newProducer()).producerId];
    expect(new Set(ids).size).toBe(2);
  });

  test('a repeated batch is acknowledged with its first offset and written once', async () => {
    const topic = await client.createTopic();
    const producer = await newProducer();
    expect(await produce({ topic, producer, firstSequence: 0, values: ['a', 'b'] })).toBe(0);
    expect(await produce({ topic, producer, firstSequence: 2, values: ['c'] })).toBe(2);
    expect(await produce({ topic, producer, firstSequence: 0, values: ['a', 'b'] })).toBe(0);
    expect(await produce({ topic, producer, firstSequence: 2, values: ['c'] })).toBe(2);
    expect(await produce({ topic, producer, firstSequence: 3, values: ['d'] })).toBe(3);
    expect((await client.read(topic, 4)).map((message) => message.value)).toEqual(['a', 'b', 'c', 'd']);
  });

  test('any of the last five batches may be repeated', async () => {
    const topic = await client.createTopic();
    const producer = await newProducer();
    for (let index = 0; index < 5; index++)
      await produce({ topic, producer, firstSequence: index, values: [String(index)] });
    for (let index = 0; index < 5; index++)
      expect(await produce({ topic, producer, firstSequence: index, values: [String(index)] })).toBe(index);
  });

  test('a gap in the sequence is refused and writes nothing', async () => {
    const topic = await client.createTopic();
    const producer = await newProducer();
    await produce({ topic, producer, firstSequence: 0, values: ['a'] });
    const gap = produce({ topic, producer, firstSequence: 5, values: ['f'] });
    expect(await errorType(gap)).toBe('OUT_OF_ORDER_SEQUENCE_NUMBER');
    expect(await produce({ topic, producer, firstSequence: 1, values: ['b'] })).toBe(1);
  });

  test('sequences are counted per partition', async () => {
    const topic = await client.createTopic(2);
    const producer = await newProducer();
    for (const partition of [0, 1]) {
      await raw.produce({
        ...producer,
        topicData: [{ topic, partitions: [{ partition, firstSequence: 0, messages: [{ value: 'x' }] }] }],
      });
    }
    expect(await client.read(topic, 2)).toHaveLength(2);
  });

  test('kafkajs with idempotence on writes each message once, in order', async () => {
    const topic = await client.createTopic(2);
    const producer = await client.producer({ idempotent: true });
    for (let index = 0; index < 50; index++)
      await producer.send({ topic, messages: [{ partition: index % 2, value: String(index) }] });
    const messages = await client.read(topic, 50);
    for (const partition of [0, 1]) {
      const own = messages
        .filter((message) => message.partition === partition)
        .map((message) => Number(message.value));
      expect(own).toEqual(Array.from({ length: 25 }, (_, index) => index * 2 + partition));
    }
  });
});

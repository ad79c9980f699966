/* oxlint-disable typescript/no-unsafe-type-assertion -- a stand-in for kafkajs */
import type { Kafka, ProducerBatch, RecordMetadata } from 'kafkajs';
import { expect, test } from 'vitest';
import { silentLogger } from '../platform/logger.js';
import { KafkaLogProducer, maxBytesPerRequest, maxRecordsPerRequest } from './log-producer.js';

/** A kafkajs that answers as told and notes what it was asked. */
function fakeKafka(answer: (batch: ProducerBatch, producer: number) => void): {
  kafka: Kafka;
  batches: number[][];
  producers: () => number;
} {
  let producers = 0;
  const batches: number[][] = [];
  const kafka = {
    producer() {
      const id = producers++;
      return {
        connect: () => Promise.resolve(),
        disconnect: () => Promise.resolve(),
        sendBatch(batch: ProducerBatch): Promise<RecordMetadata[]> {
          const messages = batch.topicMessages?.[0]?.messages ?? [];
          batches.push(messages.map((message) => Number(message.value)));
          for (const message of messages) message.partition = 0;
          try {
            answer(batch, id);
          } catch (error) {
            return Promise.reject(error instanceof Error ? error : new Error(String(error)));
          }
          return Promise.resolve([{ topicName: 't', partition: 0, errorCode: 0, baseOffset: '100' }]);
        },
      };
    },
  } as unknown as Kafka;
  return { kafka, batches, producers: () => producers };
}

const record = (value: number | Buffer): { topic: string; key: null; value: Buffer } => ({
  topic: 't',
  key: null,
  value: typeof value === 'number' ? Buffer.from(String(value)) : value,
});

test.each(['OUT_OF_ORDER_SEQUENCE_NUMBER', 'UNKNOWN_PRODUCER_ID', 'INVALID_PRODUCER_EPOCH'])(
  'a producer that gets %s is replaced, and the same records sent again',
  async (type) => {
    const { kafka, batches, producers } = fakeKafka((_batch, id) => {
      if (id === 0) throw Object.assign(new Error(type), { type, retriable: false });
    });
    const producer = new KafkaLogProducer(kafka, silentLogger);
    const positions = await producer.send([record(1), record(2)]);
    expect(positions).toEqual([
      { topic: 't', partition: 0, offset: 100 },
      { topic: 't', partition: 0, offset: 101 },
    ]);
    expect(batches).toEqual([
      [1, 2],
      [1, 2],
    ]);
    expect(producers()).toBe(2);
  },
);

test('after any other failure the same producer repeats the very same request before anything else', async () => {
  let failures = 2;
  const { kafka, batches, producers } = fakeKafka(() => {
    if (failures-- > 0) throw new Error('connection lost');
  });
  const producer = new KafkaLogProducer(kafka, silentLogger);
  const first = producer.send([record(1)]);
  await new Promise(setImmediate);
  const second = producer.send([record(2)]);
  await Promise.all([first, second]);
  expect(batches).toEqual([[1], [1], [1], [2]]);
  expect(producers()).toBe(1);
});

test('requests are limited in records and in bytes', async () => {
  const { kafka, batches } = fakeKafka(() => undefined);
  const producer = new KafkaLogProducer(kafka, silentLogger);
  await producer.send(Array.from({ length: 2_500 }, (_, index) => record(index)));
  expect(batches.map((batch) => batch.length)).toEqual([maxRecordsPerRequest, maxRecordsPerRequest, 500]);
  batches.length = 0;
  const half = Buffer.alloc(maxBytesPerRequest / 2);
  await producer.send([record(half), record(half), record(half)]);
  expect(batches.map((batch) => batch.length)).toEqual([1, 1, 1]);
});

test('no records, no request', async () => {
  const { kafka, batches } = fakeKafka(() => undefined);
  expect(await new KafkaLogProducer(kafka, silentLogger).send([])).toEqual([]);
  expect(batches).toEqual([]);
});

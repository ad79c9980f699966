import { randomBytes } from 'node:crypto';
import { CompressionTypes } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContractClient, errorType, eventually, unique } from './client.js';

let client: ContractClient;
beforeAll(async () => {
  client = await ContractClient.start();
});
afterAll(() => client.close());

describe('produce and fetch', () => {
  test('key, value, headers and timestamp come back unchanged', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    const [ack] = await producer.send({
      topic,
      messages: [
        {
          key: 'k',
          value: Buffer.from([0, 255, 10]),
          headers: { one: 'eins', bytes: Buffer.from([1, 2, 0]), many: ['a', 'b'] },
          timestamp: '1700000000123',
        },
      ],
    });
    expect(ack).toMatchObject({ topicName: topic, partition: 0, errorCode: 0, baseOffset: '0' });
    const [message] = await client.read(topic, 1);
    expect(message).toMatchObject({ partition: 0, offset: 0, key: 'k', timestamp: 1_700_000_000_123 });
    expect(message?.headers).toEqual({
      one: Buffer.from('eins'),
      bytes: Buffer.from([1, 2, 0]),
      many: [Buffer.from('a'), Buffer.from('b')],
    });
  });

  test('a tombstone and a message without a key keep their nulls; empty is not null', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    await producer.send({
      topic,
      messages: [
        { key: 'gone', value: null },
        { key: null, value: '' },
        { key: '', value: 'x' },
      ],
    });
    expect((await client.read(topic, 3)).map(({ key, value }) => [key, value])).toEqual([
      ['gone', null],
      [null, ''],
      ['', 'x'],
    ]);
  });

  test('offsets rise by one per partition, across batches and partitions of one request', async () => {
    const topic = await client.createTopic(3);
    const producer = await client.producer();
    for (let batch = 0; batch < 3; batch++) {
      const acks = await producer.send({
        topic,
        messages: [0, 1, 2].flatMap((partition) =>
          Array.from({ length: 5 }, (_, index) => ({ partition, value: `${batch}-${index}` })),
        ),
      });
      expect(acks.map((ack) => ack.baseOffset)).toEqual(Array(3).fill(String(batch * 5)));
    }
    const messages = await client.read(topic, 45);
    for (const partition of [0, 1, 2]) {
      const own = messages.filter((message) => message.partition === partition);
      expect(own.map((message) => message.offset)).toEqual(Array.from({ length: 15 }, (_, index) => index));
      expect(own.map((message) => message.value)).toEqual(
        Array.from({ length: 15 }, (_, index) => `${Math.floor(index / 5)}-${index % 5}`),
      );
    }
  });

  test('gzip batches come back whole, next to plain ones', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    const values = Array.from({ length: 200 }, (_, index) => `value ${index} ${'x'.repeat(100)}`);
    await producer.send({
      topic,
      compression: CompressionTypes.GZIP,
      messages: values.map((value) => ({ value })),
    });
    await producer.send({ topic, messages: [{ value: 'plain' }] });
    const messages = await client.read(topic, 201);
    expect(messages.map((message) => message.value)).toEqual([...values, 'plain']);
    expect(messages.map((message) => message.offset)).toEqual(
      Array.from({ length: 201 }, (_, index) => index),
    );
  });

  test.each([0, 1, -1])('acks=%i writes the message', async (acks) => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    await producer.send({ topic, acks, messages: [{ value: 'written' }] });
    expect((await client.read(topic, 1))[0]?.value).toBe('written');
  });

  test('a connection continues after acks=0, which has no answer', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    for (let index = 0; index < 20; index++)
      await producer.send({ topic, acks: 0, messages: [{ value: String(index) }] });
    const [ack] = await producer.send({ topic, acks: -1, messages: [{ value: 'last' }] });
    expect(ack?.baseOffset).toBe('20');
  });

  test('timestamps may run backwards inside a batch', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    const timestamps = [1_700_000_005_000, 1_700_000_001_000, 1_700_000_009_000];
    await producer.send({
      topic,
      messages: timestamps.map((timestamp) => ({ value: 'v', timestamp: String(timestamp) })),
    });
    expect((await client.read(topic, 3)).map((message) => message.timestamp)).toEqual(timestamps);
  });

  test('a message of 900 KB passes', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    const value = randomBytes(675_000).toString('base64');
    await producer.send({ topic, messages: [{ value }, { value: 'after' }] });
    expect((await client.read(topic, 2)).map((message) => message.value)).toEqual([value, 'after']);
  });

  test('a message over max.message.bytes is refused and nothing is written', async () => {
    const topic = await client.createTopic(1, {
      configEntries: [{ name: 'max.message.bytes', value: '10000' }],
    });
    const producer = await client.producer();
    const large = producer.send({ topic, messages: [{ value: 'x'.repeat(20_000) }] });
    expect(await errorType(large)).toBe('MESSAGE_TOO_LARGE');
    const [ack] = await producer.send({ topic, messages: [{ value: 'small' }] });
    expect(ack?.baseOffset).toBe('0');
  });

  test('a batch larger than the fetch limit is served whole', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    const value = 'y'.repeat(300_000);
    await producer.send({ topic, messages: [{ value }, { value }] });
    await producer.send({ topic, messages: [{ value: 'next' }] });
    const messages = await client.read(topic, 3, { maxBytesPerPartition: 1_000, maxBytes: 2_000 });
    expect(messages.map((message) => message.value?.length)).toEqual([300_000, 300_000, 4]);
  });

  test('a consumer that starts inside a batch gets only the rest of it', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    await producer.send({
      topic,
      messages: Array.from({ length: 10 }, (_, index) => ({ value: String(index) })),
    });
    const groupId = unique('inside');
    await client.commitOffset(groupId, topic, 7);
    expect((await client.read(topic, 3, { groupId })).map((message) => message.offset)).toEqual([7, 8, 9]);
  });

  test('a waiting fetch is answered as soon as a message arrives', async () => {
    const topic = await client.createTopic();
    const raw = await client.rawBroker();
    const started = Date.now();
    const fetch = raw.fetch({
      replicaId: -1,
      isolationLevel: 0,
      maxWaitTime: 20_000,
      minBytes: 1,
      maxBytes: 1_000_000,
      topics: [{ topic, partitions: [{ partition: 0, fetchOffset: '0', maxBytes: 1_000_000 }] }],
    });
    await (await client.producer()).send({ topic, messages: [{ value: 'wake' }] });
    const { responses } = await fetch;
    expect(responses[0]?.partitions[0]?.messages[0]?.value?.toString()).toBe('wake');
    expect(Date.now() - started).toBeLessThan(10_000);
  });

  test('a fetch outside the log answers OFFSET_OUT_OF_RANGE', async () => {
    const topic = await client.createTopic();
    const raw = await client.rawBroker();
    const fetch = raw.fetch({
      replicaId: -1,
      isolationLevel: 0,
      maxWaitTime: 100,
      topics: [{ topic, partitions: [{ partition: 0, fetchOffset: '5', maxBytes: 1_000 }] }],
    });
    expect(await errorType(fetch)).toBe('OFFSET_OUT_OF_RANGE');
  });

  test('an unknown partition and an unknown topic are refused', async () => {
    const topic = await client.createTopic();
    const raw = await client.rawBroker();
    const data = [{ partition: 9, messages: [{ value: 'x' }] }];
    for (const name of [topic, unique('missing')]) {
      const produce = raw.produce({ topicData: [{ topic: name, partitions: data }] });
      expect(await errorType(produce)).toBe('UNKNOWN_TOPIC_OR_PARTITION');
    }
  });

  test('concurrent producers and a reader lose nothing and keep each order', async () => {
    const topic = await client.createTopic(2);
    const producers = await Promise.all(Array.from({ length: 4 }, () => client.producer()));
    const reading = client.read(topic, 400);
    await Promise.all(
      producers.map(async (producer, id) => {
        for (let index = 0; index < 100; index++)
          await producer.send({
            topic,
            messages: [{ partition: id % 2, key: String(id), value: String(index) }],
          });
      }),
    );
    const messages = await reading;
    for (let id = 0; id < 4; id++) {
      const own = messages
        .filter((message) => message.key === String(id))
        .map((message) => Number(message.value));
      expect(own).toEqual(Array.from({ length: 100 }, (_, index) => index));
    }
  });

  test('records before a deletion are gone, reading starts after them', async () => {
    const topic = await client.createTopic();
    const producer = await client.producer();
    const admin = await client.admin();
    for (let index = 0; index < 10; index++)
      await producer.send({ topic, messages: [{ value: String(index) }] });
    await admin.fetchTopicOffsets(topic); // kafkajs' admin looks for the leader in its cached metadata
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] });
    await eventually(async () => (await admin.fetchTopicOffsets(topic))[0]?.low === '6');
    expect((await client.read(topic, 4)).map((message) => message.value)).toEqual(['6', '7', '8', '9']);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] });
    await eventually(async () => (await admin.fetchTopicOffsets(topic))[0]?.low === '10');
  });
  test('records of a compacted topic are not deleted by their offset', async () => {
    const topic = await client.createTopic(1, {
      configEntries: [{ name: 'cleanup.policy', value: 'compact' }],
    });
    const producer = await client.producer();
    await producer.send({ topic, messages: [{ key: 'k', value: 'v' }] });
    const admin = await client.admin();
    await admin.fetchTopicOffsets(topic);
    const deleting = admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] });
    await expect(deleting).rejects.toMatchObject({
      cause: { partitions: [{ error: { type: 'POLICY_VIOLATION' } }] },
    });
    expect((await admin.fetchTopicOffsets(topic))[0]?.low).toBe('0');
  });
});

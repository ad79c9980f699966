import { afterAll, beforeAll, expect, test } from 'vitest';
import { unique } from '../tests/contract/client.js';
import { apiKeys } from '../tests/contract/flaky-network.js';
import { numbered, numbersOf, range, StreamsFixture } from '../tests/contract/streams-fixture.js';

let fixture: StreamsFixture;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterAll(() => fixture.close());

test('writes to several topics in one transaction', async () => {
  const { streams } = fixture.open();
  const [a, b] = [await fixture.topic(streams), await fixture.topic(streams)];
  const producer = await streams.createTransactionalProducer(unique('transactions'));
  await producer.commit([...numbered(a, 0, 2_500), ...numbered(b, 0, 1)]);
  await producer.commit(numbered(b, 1, 2));
  await producer.close();
  expect(numbersOf(await fixture.readAll(a, 2_500))).toEqual(range(0, 2_500));
  expect(numbersOf(await fixture.readAll(b, 2))).toEqual([0, 1]);
});

test('many small records are one request, and many large ones several', async () => {
  const { streams, network } = fixture.open();
  const topic = await fixture.topic(streams);
  const producer = await streams.createTransactionalProducer(unique('transactions'));
  await producer.commit(numbered(topic, 0, 5_000));
  expect(network.requests.get(apiKeys.produce)).toBe(1);
  const large = Array.from({ length: 4 }, () => ({ topic, key: null, value: Buffer.alloc(400_000) }));
  await producer.commit(large);
  expect(network.requests.get(apiKeys.produce)).toBe(3);
  expect(await fixture.readAll(topic, 5_004)).toHaveLength(5_004);
});

test('the last one to open an id holds it: an earlier holder can commit no more', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams);
  const id = unique('transactions');
  const first = await streams.createTransactionalProducer(id);
  await first.commit(numbered(topic, 0, 1));
  const second = await streams.createTransactionalProducer(id);
  await expect(first.commit(numbered(topic, 1, 2))).rejects.toMatchObject({ code: 'LOG_FENCED' });
  await second.commit(numbered(topic, 2, 3));
  expect(numbersOf(await fixture.readAll(topic, 2))).toEqual([0, 2]);
});

test('a record that is too large leaves nothing of its transaction, and its producer commits no more', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams);
  const id = unique('transactions');
  const producer = await streams.createTransactionalProducer(id);
  const huge = { topic, key: 'huge', value: Buffer.alloc(3_000_000, 'x') };
  const tooLarge = { code: 'RECORD_TOO_LARGE' };
  await expect(producer.commit([...numbered(topic, 0, 1), huge])).rejects.toMatchObject(tooLarge);
  await expect(producer.commit(numbered(topic, 0, 1))).rejects.toMatchObject(tooLarge);
  const next = await streams.createTransactionalProducer(id);
  await next.commit(numbered(topic, 1, 2));
  expect(numbersOf(await fixture.readAll(topic, 1))).toEqual([1]);
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unique } from '../tests/contract/client.js';
import { apiKeys } from '../tests/contract/flaky-network.js';
import { numbered, numbersOf, range, StreamsFixture } from '../tests/contract/streams-fixture.js';

let fixture: StreamsFixture;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterAll(() => fixture.close());

describe('log producer', () => {
  test('returns the position of each record, in the order given', async () => {
    const { streams } = fixture.open();
    const topic = await fixture.topic(streams, 3);
    const producer = await streams.createProducer();
    const positions = await producer.send(numbered(topic, 0, 2_500, 3));
    expect(positions).toEqual(
      range(0, 2_500).map((index) => ({ topic, partition: index % 3, offset: Math.floor(index / 3) })),
    );
    const records = await fixture.readAll(topic, 2_500);
    expect(numbersOf(records)).toEqual(range(0, 2_500));
  });

  test('records of one key stay in one partition, in order; headers and timestamp are kept', async () => {
    const { streams } = fixture.open();
    const topic = await fixture.topic(streams, 4);
    const producer = await streams.createProducer();
    const sent = range(0, 100).map((index) => ({
      topic,
      key: 'same',
      value: Buffer.from(String(index)),
      headers: { ce_id: `id-${index}`, bytes: Buffer.from([0, 1]) },
      timestamp: 1_700_000_000_000 + index,
    }));
    const positions = (await Promise.all(sent.map((record) => producer.send([record])))).flat();
    expect(new Set(positions.map((position) => position.partition)).size).toBe(1);
    const records = await fixture.readAll(topic, 100);
    expect(records.map((record) => Number(record.value))).toEqual(range(0, 100));
    expect(records[7]).toMatchObject({
      key: Buffer.from('same'),
      timestamp: 1_700_000_000_007,
      headers: { ce_id: Buffer.from('id-7'), bytes: Buffer.from([0, 1]) },
    });
  });

  test('concurrent calls share requests', async () => {
    const { streams, network } = fixture.open();
    const topic = await fixture.topic(streams);
    const producer = await streams.createProducer();
    await producer.send(numbered(topic, 0, 1));
    const before = network.requests.get(apiKeys.produce) ?? 0;
    await Promise.all(range(1, 501).map((index) => producer.send(numbered(topic, index, index + 1))));
    expect((network.requests.get(apiKeys.produce) ?? 0) - before).toBeLessThanOrEqual(2);
  });

  test('a lost answer does not write twice, and keeps the order', async () => {
    const { streams, network } = fixture.open();
    const topic = await fixture.topic(streams);
    const producer = await streams.createProducer();
    await producer.send(numbered(topic, 0, 10));
    network.loseAnswer(apiKeys.produce);
    const sends = [producer.send(numbered(topic, 10, 20)), producer.send(numbered(topic, 20, 30))];
    const positions = (await Promise.all(sends)).flat();
    expect(positions.map((position) => position.offset)).toEqual(range(10, 30));
    expect((await fixture.readAll(topic, 30)).map((record) => Number(record.value))).toEqual(range(0, 30));
  });

  test('waits for the end of an outage; records that were given up before they were sent are not written', async () => {
    const { streams, network } = fixture.open();
    const topic = await fixture.topic(streams, 2);
    const producer = await streams.createProducer();
    await producer.send(numbered(topic, 0, 1));
    network.cut();
    const waiting = producer.send(numbered(topic, 1, 50, 2));
    // The first request is in flight: later records wait for the next.
    await new Promise(setImmediate);
    const abort = new AbortController();
    const impatient = Promise.allSettled([
      producer.send(numbered(topic, 50, 60), { timeoutMs: 50 }),
      producer.send(numbered(topic, 60, 70), { signal: abort.signal }),
    ]);
    abort.abort();
    const timedOut = { status: 'rejected', reason: { code: 'LOG_TIMEOUT', retriable: true } };
    expect(await impatient).toMatchObject([timedOut, timedOut]);
    network.restore();
    await waiting;
    await producer.send(numbered(topic, 70, 71));
    expect(numbersOf(await fixture.readAll(topic, 51))).toEqual([...range(0, 50), 70]);
  });

  test('a full queue accepts nothing more, and empties', async () => {
    const { streams, network } = fixture.open();
    const topic = await fixture.topic(streams);
    const producer = await streams.createProducer();
    await producer.send(numbered(topic, 0, 1));
    network.cut();
    const waiting = [
      producer.send(numbered(topic, 1, 60_000)),
      producer.send(numbered(topic, 60_000, 70_000)),
    ];
    await expect(producer.send(numbered(topic, 0, 50_000))).rejects.toMatchObject({
      code: 'LOG_BUSY',
      retriable: true,
    });
    network.restore();
    expect((await Promise.all(waiting)).flat()).toHaveLength(69_999);
  });

  test('a record that the broker refuses fails alone', async () => {
    const { streams } = fixture.open();
    const [small, normal] = [
      await fixture.topic(streams, 2, { 'max.message.bytes': '2000' }),
      await fixture.topic(streams, 2),
    ];
    const producer = await streams.createProducer();
    const large = { topic: small, key: null, value: Buffer.alloc(5_000), partition: 0 };
    const results = await Promise.allSettled([
      producer.send(numbered(normal, 0, 20, 2)),
      producer.send(numbered(small, 0, 5, 2)),
      producer.send([large]),
      producer.send(numbered(small, 5, 10, 2)),
    ]);
    expect(results.map((result) => result.status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(results[2]).toMatchObject({ reason: { code: 'RECORD_TOO_LARGE', retriable: false } });
    expect(numbersOf(await fixture.readAll(normal, 20))).toEqual(range(0, 20));
    expect(numbersOf(await fixture.readAll(small, 10))).toEqual(range(0, 10));
  });

  test('waits for a topic that does not exist yet', async () => {
    const { streams } = fixture.open();
    const name = unique('later');
    const producer = await streams.createProducer();
    const sending = producer.send(numbered(name, 0, 3));
    await streams.createTopics([{ name, partitions: 1 }]);
    expect(await sending).toHaveLength(3);
  });

  test('closing sends the waiting records and refuses others', async () => {
    const { streams } = fixture.open();
    const topic = await fixture.topic(streams);
    const producer = await streams.createProducer();
    const sending = producer.send(numbered(topic, 0, 3_000));
    await producer.close();
    expect(await sending).toHaveLength(3_000);
    await expect(producer.send(numbered(topic, 0, 1))).rejects.toMatchObject({
      code: 'LOG_CLOSED',
      retriable: true,
    });
  });

  test('closing during an outage gives up in time', async () => {
    const { streams, network } = fixture.open();
    const topic = await fixture.topic(streams);
    const producer = await streams.createProducer();
    await producer.send(numbered(topic, 0, 1));
    network.cut();
    const sending = Promise.allSettled([producer.send(numbered(topic, 1, 2))]);
    await producer.close({ drainMs: 50 });
    expect(await sending).toMatchObject([
      { status: 'rejected', reason: { code: 'LOG_CLOSED', retriable: true } },
    ]);
  });
});

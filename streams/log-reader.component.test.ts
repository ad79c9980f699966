import { afterAll, beforeAll, expect, it } from 'vitest';
import { MillraceError } from '../platform/errors.js';
import { StreamsFixture } from '../tests/contract/streams-fixture.js';
import type { Span } from './log-reader.js';
import type { NewRecord } from './records.js';
import type { Streams } from './streams.js';

let fixture: StreamsFixture;
let streams: Streams;

beforeAll(async () => {
  fixture = await StreamsFixture.start();
  ({ streams } = fixture.open());
});
afterAll(() => fixture.close());

function record(topic: string, text: string, partition = 0): NewRecord {
  return { topic, partition, key: text, value: Buffer.from(text) };
}

async function read(...spans: Span[]): Promise<string[]> {
  const texts: string[] = [];
  await streams.read(spans, (records) => {
    for (const { partition, offset, value } of records)
      texts.push(`${partition}/${offset} ${value?.toString()}`);
  });
  return texts;
}

it('reads the committed records of a range, and nothing else', async () => {
  const topic = await fixture.topic(streams, 2);
  const producer = await streams.createProducer();
  await producer.send(['a', 'b', 'c', 'd'].map((text) => record(topic, text)));
  await producer.send([record(topic, 'other', 1)]);
  const [first, second] = [`${topic}-1`, `${topic}-2`];
  const transactional = await streams.createTransactionalProducer(first);
  await transactional.commit([record(topic, 'e'), record(topic, 'f')]);
  // Its first request is on the log when the second is refused; a takeover aborts it.
  const failing = await streams.createTransactionalProducer(second);
  const tooLarge = { ...record(topic, 'too large'), value: Buffer.alloc(3_000_000, 1) };
  await expect(
    failing.commit([record(topic, 'aborted'), record(topic, 'aborted too'), tooLarge]),
  ).rejects.toThrow(MillraceError);
  await (await streams.createTransactionalProducer(second)).commit([record(topic, 'g')]);

  // A broker writes the end markers of a transaction after it has acknowledged the commit.
  const end = async (): Promise<number> =>
    (await streams.ends(topic)).find(({ partition }) => partition === 0)?.high ?? 0;
  await expect.poll(end).toBeGreaterThan(9);
  const high = await end();
  const all = ['0/0 a', '0/1 b', '0/2 c', '0/3 d', '0/4 e', '0/5 f'];
  const whole = await read({ topic, partition: 0, from: 0, to: high });
  expect(whole.slice(0, 6)).toEqual(all);
  expect(whole.slice(6).map((text) => text.split(' ')[1])).toEqual(['g']);
  expect(await read({ topic, partition: 0, from: 2, to: 5 })).toEqual(all.slice(2, 5));
  expect(
    await read({ topic, partition: 1, from: 0, to: 1 }, { topic, partition: 0, from: 3, to: 4 }),
  ).toEqual(['1/0 other', '0/3 d']);
  expect(
    await read({ topic, partition: 0, from: 6, to: 7 }, { topic, partition: 0, from: 4, to: 4 }),
  ).toEqual([]);
});

it('ends when its handler asks for it', async () => {
  const topic = await fixture.topic(streams);
  const producer = await streams.createProducer();
  await producer.send([record(topic, 'a')]);
  await producer.send([record(topic, 'b')]);
  let calls = 0;
  const spans = [
    { topic, partition: 0, from: 0, to: 1 },
    { topic, partition: 0, from: 1, to: 2 },
  ];
  await streams.read(spans, () => {
    calls++;
    return false;
  });
  expect(calls).toBe(1);
});

it('continues after an outage', { timeout: 60_000 }, async () => {
  const { streams: flaky, network } = fixture.open();
  const topic = await fixture.topic(flaky);
  const producer = await flaky.createProducer();
  await producer.send([record(topic, 'a'), record(topic, 'b')]);
  const texts: string[] = [];
  const spans = [0, 1].map((offset) => ({ topic, partition: 0, from: offset, to: offset + 1 }));
  await flaky.read(spans, (records) => {
    texts.push(...records.map(({ value }) => String(value)));
    network.cut();
    network.restore();
  });
  expect(texts).toEqual(['a', 'b']);
});

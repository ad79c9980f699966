/* oxlint-disable typescript/no-unsafe-type-assertion -- parsed log lines */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { unique } from '../tests/contract/client.js';
import { numbered, StreamsFixture } from '../tests/contract/streams-fixture.js';
import { pipelineTopicSpecs, systemTopicSpecs } from './topics.js';

let fixture: StreamsFixture;
beforeAll(async () => {
  fixture = await StreamsFixture.start();
});
afterAll(() => fixture.close());

test('topics are created once and never changed; differences are logged as warnings', async () => {
  const lines: { msg: string; topic?: string; setting?: string }[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as { msg: string });
      done();
    },
  });
  const { streams } = fixture.open(pino({ level: 'warn' }, sink));
  const name = unique('topic');
  await streams.createTopics([{ name, partitions: 2, config: { 'retention.ms': '86400000' } }]);
  await streams.createTopics([{ name, partitions: 2, config: { 'retention.ms': '86400000' } }]);
  expect(lines).toEqual([]);
  await streams.createTopics([{ name, partitions: 3, config: { 'retention.ms': '1000' } }]);
  expect(lines).toMatchObject([
    { topic: name, wanted: 3, actual: 2 },
    { topic: name, setting: 'retention.ms', wanted: '1000', actual: '86400000' },
  ]);
});

test('an earlier version’s topic that kept events for ever is compacted from now on', async () => {
  const lines: { msg: string }[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as { msg: string });
      done();
    },
  });
  const { streams } = fixture.open(pino({ level: 'warn' }, sink));
  const name = unique('jobs');
  const spec = { name, partitions: 1, config: { 'cleanup.policy': 'compact', 'segment.ms': '600000' } };
  const kept = { 'cleanup.policy': 'delete', 'retention.ms': '-1' };
  await streams.createTopics([{ ...spec, config: kept }]);
  await streams.createTopics([{ ...spec, upgraded: true }]);
  await streams.createTopics([spec]);
  expect(lines).toEqual([]);
});

test('every topic of a pipeline and of the system can be created', async () => {
  const { streams } = fixture.open();
  await streams.createTopics([...pipelineTopicSpecs(unique('pipeline'), 2), ...systemTopicSpecs()]);
  await expect(streams.createTopics(systemTopicSpecs())).resolves.toBeUndefined();
});

test('an error names the topic that the broker refuses', async () => {
  const { streams } = fixture.open();
  await expect(streams.createTopics([{ name: 'no spaces', partitions: 1 }])).rejects.toMatchObject({
    code: 'LOG_REFUSED',
    retriable: false,
    message: expect.stringContaining('no spaces') as string,
  });
});

test('ping tells quickly whether the log is available', async () => {
  const { streams, network } = fixture.open();
  await streams.ping();
  network.cut();
  const started = Date.now();
  await expect(streams.ping()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE', retriable: true });
  expect(Date.now() - started).toBeLessThan(4_000);
  network.restore();
  await streams.ping();
});

test('lag counts what a group has not committed yet', async () => {
  const { streams } = fixture.open();
  const topic = await fixture.topic(streams, 2);
  const producer = await streams.createProducer();
  await producer.send(numbered(topic, 0, 10, 2));
  const groupId = unique('group');
  expect(await streams.lag(groupId, [topic])).toEqual([
    { topic, partition: 0, committed: -1, end: 5, lag: 5 },
    { topic, partition: 1, committed: -1, end: 5, lag: 5 },
  ]);
});

test('a closed one accepts no more work', async () => {
  const { streams } = fixture.open();
  await streams.close();
  await expect(streams.createProducer()).rejects.toMatchObject({ code: 'LOG_CLOSED' });
});

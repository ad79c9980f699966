import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContractClient, errorType, unique } from './client.js';

let client: ContractClient;
beforeAll(async () => {
  client = await ContractClient.start();
});
afterAll(() => client.close());

async function topicWith(timestamps: number[]): Promise<string> {
  const topic = await client.createTopic();
  const producer = await client.producer();
  for (const timestamp of timestamps)
    await producer.send({ topic, messages: [{ value: 'v', timestamp: String(timestamp) }] });
  return topic;
}

describe('offsets', () => {
  test('earliest and latest of an empty and of a filled partition', async () => {
    const admin = await client.admin();
    const empty = await client.createTopic();
    expect(await admin.fetchTopicOffsets(empty)).toEqual([
      { partition: 0, offset: '0', high: '0', low: '0' },
    ]);
    const filled = await topicWith([1, 2, 3]);
    expect(await admin.fetchTopicOffsets(filled)).toEqual([
      { partition: 0, offset: '3', high: '3', low: '0' },
    ]);
  });

  test('by timestamp: the first message at or after it', async () => {
    const base = 1_700_000_000_000;
    const topic = await topicWith([base, base + 1_000, base + 2_000]);
    const admin = await client.admin();
    const at = async (timestamp: number): Promise<string | undefined> =>
      (await admin.fetchTopicOffsetsByTimestamp(topic, timestamp))[0]?.offset;
    expect(await at(base - 5_000)).toBe('0');
    expect(await at(base + 1_000)).toBe('1');
    expect(await at(base + 1_001)).toBe('2');
    // After the last message the log has no offset; kafkajs converts that to the latest offset.
    expect(await at(base + 9_000)).toBe('3');
  });

  test('by timestamp inside one batch: the message, not the batch', async () => {
    const base = 1_700_000_000_000;
    const topic = await client.createTopic();
    const producer = await client.producer();
    await producer.send({
      topic,
      messages: Array.from({ length: 10 }, (_, index) => ({
        value: 'v',
        timestamp: String(base + index * 100),
      })),
    });
    const found = await (await client.admin()).fetchTopicOffsetsByTimestamp(topic, base + 450);
    expect(found[0]?.offset).toBe('5');
  });

  test('a group without commits has offset -1', async () => {
    const topic = await client.createTopic(2);
    const offsets = await (await client.admin()).fetchOffsets({ groupId: unique('group'), topics: [topic] });
    expect(offsets[0]?.partitions.map((partition) => partition.offset)).toEqual(['-1', '-1']);
  });

  test('a group reads on from offsets set by an admin', async () => {
    const topic = await topicWith([1, 2, 3, 4]);
    const groupId = unique('group');
    const admin = await client.admin();
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '2' }] });
    expect((await client.read(topic, 2, { groupId })).map((message) => message.offset)).toEqual([2, 3]);
  });

  test('a committed offset of -2, as kafkajs writes to reset a group, starts it over', async () => {
    const topic = await topicWith([1, 2, 3]);
    const groupId = unique('group');
    await client.commitOffset(groupId, topic, 2);
    await client.commitOffset(groupId, topic, -2);
    expect((await client.read(topic, 3, { groupId })).map((message) => message.offset)).toEqual([0, 1, 2]);
  });

  test('offsets of all topics of a group are listed', async () => {
    const [one, two] = [await topicWith([1]), await topicWith([1, 2])];
    const groupId = unique('group');
    const admin = await client.admin();
    await client.commitOffset(groupId, one, 1);
    await client.commitOffset(groupId, two, 2);
    const offsets = await admin.fetchOffsets({ groupId });
    const byTopic = Object.fromEntries(offsets.map((entry) => [entry.topic, entry.partitions[0]?.offset]));
    expect(byTopic).toEqual({ [one]: '1', [two]: '2' });
  });

  test('a commit with a generation the group never had is refused', async () => {
    const topic = await client.createTopic();
    const groupId = unique('group');
    const raw = await client.rawBroker();
    await client.coordinatorReady(raw, groupId, 0);
    const commit = raw.offsetCommit({
      groupId,
      groupGenerationId: 7,
      memberId: 'nobody',
      topics: [{ topic, partitions: [{ partition: 0, offset: '1' }] }],
    });
    expect(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION']).toContain(await errorType(commit));
  });
});

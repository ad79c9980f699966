import type { Consumer, ConsumerGroupJoinEvent } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContractClient, deferred, errorType, eventually, unique } from './client.js';

let client: ContractClient;
beforeAll(async () => {
  client = await ContractClient.start();
});
afterAll(() => client.close());

interface Member {
  consumer: Consumer;
  seen: string[];
  /** Partitions of the member's newest assignment. */
  assigned(): number[];
  joins: ConsumerGroupJoinEvent['payload'][];
}

async function member(groupId: string, topic: string): Promise<Member> {
  const consumer = await client.consumer({ groupId });
  const seen: string[] = [];
  const joins: ConsumerGroupJoinEvent['payload'][] = [];
  consumer.on('consumer.group_join', ({ payload }) => {
    joins.push(payload);
  });
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage({ message }) {
      seen.push(message.value?.toString() ?? '');
      return Promise.resolve();
    },
  });
  return { consumer, seen, joins, assigned: () => joins.at(-1)?.memberAssignment[topic] ?? [] };
}

async function fill(topic: string, values: string[], partitions: number): Promise<void> {
  const producer = await client.producer();
  await producer.send({
    topic,
    messages: values.map((value, index) => ({ value, partition: index % partitions })),
  });
}

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => String(from + index));
const inOrder = (partitions: number[]): number[] => partitions.toSorted((a, b) => a - b);
const sorted = (values: string[]): string[] => values.toSorted((a, b) => Number(a) - Number(b));

describe('consumer groups', () => {
  test('one member gets all partitions and every message', async () => {
    const topic = await client.createTopic(3);
    await fill(topic, numbers(0, 30), 3);
    const only = await member(unique('group'), topic);
    await eventually(() => only.seen.length === 30);
    expect(sorted(only.seen)).toEqual(numbers(0, 30));
    expect(inOrder(only.assigned())).toEqual([0, 1, 2]);
    expect(only.joins[0]?.isLeader).toBe(true);
  });

  test('a second member takes a share, and gives it back when it leaves', async () => {
    const topic = await client.createTopic(4);
    const groupId = unique('group');
    const first = await member(groupId, topic);
    await eventually(() => first.assigned().length === 4);
    const second = await member(groupId, topic);
    await eventually(() => first.assigned().length === 2 && second.assigned().length === 2);
    expect(inOrder([...first.assigned(), ...second.assigned()])).toEqual([0, 1, 2, 3]);
    await fill(topic, numbers(0, 40), 4);
    await eventually(() => first.seen.length === 20 && second.seen.length === 20);
    await second.consumer.disconnect();
    await eventually(() => first.assigned().length === 4);
    await fill(topic, numbers(40, 80), 4);
    await eventually(() => first.seen.length + second.seen.length === 80);
    expect(sorted([...first.seen, ...second.seen])).toEqual(numbers(0, 80));
  });

  test('a group continues after its last commit', async () => {
    const topic = await client.createTopic(1);
    const groupId = unique('group');
    await fill(topic, numbers(0, 10), 1);
    const first = await member(groupId, topic);
    await eventually(() => first.seen.length === 10);
    await first.consumer.disconnect();
    await fill(topic, numbers(10, 20), 1);
    const second = await member(groupId, topic);
    await eventually(() => second.seen.length === 10);
    expect(second.seen).toEqual(numbers(10, 20));
  });

  test('two groups read the same topic independently', async () => {
    const topic = await client.createTopic(1);
    await fill(topic, numbers(0, 5), 1);
    const [one, two] = [await member(unique('group'), topic), await member(unique('group'), topic)];
    await eventually(() => one.seen.length === 5 && two.seen.length === 5);
    expect(one.seen).toEqual(two.seen);
  });

  test('more members than partitions: the surplus waits and takes over', async () => {
    const topic = await client.createTopic(1);
    const groupId = unique('group');
    const members = [await member(groupId, topic), await member(groupId, topic)];
    await eventually(
      () =>
        members.every(({ joins }) => joins.length > 0) &&
        inOrder(members.map((each) => each.assigned().length)).join() === '0,1',
    );
    const owner = members.find((each) => each.assigned().length === 1);
    const waiting = members.find((each) => each !== owner);
    await owner?.consumer.disconnect();
    await eventually(() => waiting?.assigned().length === 1);
    await fill(topic, numbers(0, 3), 1);
    await eventually(() => waiting?.seen.length === 3);
    expect(waiting?.seen).toEqual(numbers(0, 3));
  });

  test('a member that misses its heartbeats is replaced', async () => {
    const topic = await client.createTopic(1);
    const groupId = unique('group');
    const silent = await client.consumer({ groupId, sessionTimeout: 6_000, rebalanceTimeout: 6_000 });
    const released = deferred();
    let stuck = false;
    await silent.subscribe({ topic, fromBeginning: true });
    await silent.run({
      async eachMessage() {
        stuck = true;
        await released.promise;
      },
    });
    await fill(topic, ['work'], 1);
    await eventually(() => stuck);
    const heir = await member(groupId, topic);
    await eventually(() => heir.seen.length === 1, 25_000);
    expect(heir.seen).toEqual(['work']);
    released.resolve();
  });

  test('groups are listed, described, and deleted when empty only', async () => {
    const topic = await client.createTopic(2);
    const groupId = unique('group');
    const admin = await client.admin();
    const only = await member(groupId, topic);
    await eventually(() => only.assigned().length === 2);
    expect((await admin.listGroups()).groups).toContainEqual({ groupId, protocolType: 'consumer' });
    const described = (await admin.describeGroups([groupId])).groups[0];
    expect(described).toMatchObject({ groupId, state: 'Stable', protocol: 'RoundRobinAssigner' });
    expect(described?.members).toHaveLength(1);
    expect(described?.members[0]?.clientId).toBe('contract');
    expect(await errorType(admin.deleteGroups([groupId]))).toBe('NON_EMPTY_GROUP');
    await only.consumer.disconnect();
    await eventually(async () => (await admin.describeGroups([groupId])).groups[0]?.state === 'Empty');
    await admin.deleteGroups([groupId]);
    expect((await admin.listGroups()).groups.map((group) => group.groupId)).not.toContain(groupId);
  });

  test('an unknown group is described as dead', async () => {
    const described = await (await client.admin()).describeGroups([unique('nobody')]);
    expect(described.groups[0]).toMatchObject({ state: 'Dead', members: [] });
  });

  test('offsets of a live group cannot be set from outside', async () => {
    const topic = await client.createTopic(1);
    const groupId = unique('group');
    const only = await member(groupId, topic);
    await eventually(() => only.assigned().length === 1);
    const admin = await client.admin();
    await expect(
      admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '0' }] }),
    ).rejects.toThrow(/consumer group must have no running instances/i);
  });

  test('heartbeats of an unknown member and of an old generation are refused', async () => {
    const topic = await client.createTopic(1);
    const groupId = unique('group');
    const only = await member(groupId, topic);
    await eventually(() => only.assigned().length === 1);
    const raw = await client.rawBroker();
    const stranger = raw.heartbeat({ groupId, groupGenerationId: 1, memberId: 'stranger' });
    expect(await errorType(stranger)).toBe('UNKNOWN_MEMBER_ID');
    const memberId = only.joins[0]?.memberId ?? '';
    const old = raw.heartbeat({ groupId, groupGenerationId: 999, memberId });
    expect(await errorType(old)).toBe('ILLEGAL_GENERATION');
  });

  test('a session timeout outside the allowed range is refused', async () => {
    const topic = await client.createTopic(1);
    const consumer = client.kafka.consumer({
      groupId: unique('group'),
      sessionTimeout: 500,
      heartbeatInterval: 100,
    });
    let crash: Error | undefined;
    consumer.on('consumer.crash', ({ payload }) => {
      crash = payload.error;
    });
    await consumer.connect();
    await consumer.subscribe({ topic });
    await consumer.run({ eachMessage: () => Promise.resolve() });
    await eventually(() => crash !== undefined);
    expect(await errorType(Promise.reject(crash ?? new Error('no crash')))).toBe('INVALID_SESSION_TIMEOUT');
    await consumer.disconnect();
  });

  test('a group that lost its position restarts at the earliest offset', async () => {
    const topic = await client.createTopic(1);
    await fill(topic, numbers(0, 5), 1);
    const groupId = unique('group');
    await client.commitOffset(groupId, topic, 1000);
    const only = await member(groupId, topic);
    await eventually(() => only.seen.length === 5);
    expect(only.seen).toEqual(numbers(0, 5));
  });

  test('partitions added while the group runs are picked up', async () => {
    const topic = await client.createTopic(1);
    const consumer = await client.consumer({ groupId: unique('group'), metadataMaxAge: 300 });
    const seen: string[] = [];
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage({ message }) {
        seen.push(message.value?.toString() ?? '');
        return Promise.resolve();
      },
    });
    await (await client.admin()).createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    const producer = await client.producer({ metadataMaxAge: 100 });
    await eventually(() => producer.send({ topic, messages: [{ partition: 2, value: 'new' }] }));
    await eventually(() => seen.includes('new'));
    expect(seen).toEqual(['new']);
  });
});

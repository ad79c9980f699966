import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigResourceTypes } from 'kafkajs';
import { ContractClient, errorType, eventually, unique } from './client.js';

let client: ContractClient;
beforeAll(async () => {
  client = await ContractClient.start();
});
afterAll(() => client.close());

async function partitionCount(topic: string): Promise<number> {
  const metadata = await (await client.admin()).fetchTopicMetadata({ topics: [topic] });
  return metadata.topics[0]?.partitions.length ?? 0;
}

async function configOf(topic: string, name: string): Promise<string | undefined> {
  const described = await (
    await client.admin()
  ).describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  });
  return described.resources[0]?.configEntries.find((entry) => entry.configName === name)?.configValue;
}

describe('topics', () => {
  test('a created topic is listed with its partitions, each with a leader', async () => {
    const admin = await client.admin();
    const topic = unique('created');
    const topics = [{ topic, numPartitions: 3 }];
    expect(await admin.createTopics({ waitForLeaders: false, topics })).toBe(true);
    const metadata = await eventually(() => admin.fetchTopicMetadata({ topics: [topic] }));
    expect(await admin.listTopics()).toContain(topic);
    const partitions = metadata.topics[0]?.partitions ?? [];
    expect(partitions.map((partition) => partition.partitionId).toSorted((a, b) => a - b)).toEqual([0, 1, 2]);
    const { brokers } = await admin.describeCluster();
    for (const partition of partitions) {
      expect(brokers.map((broker) => broker.nodeId)).toContain(partition.leader);
      expect(partition.isr).toContain(partition.leader);
    }
  });

  test('creating a topic again changes nothing and says so', async () => {
    const topic = await client.createTopic(2);
    const admin = await client.admin();
    expect(await admin.createTopics({ topics: [{ topic, numPartitions: 5 }] })).toBe(false);
    expect(await partitionCount(topic)).toBe(2);
  });

  test('validateOnly creates nothing', async () => {
    const admin = await client.admin();
    const topic = unique('validated');
    await admin.createTopics({
      validateOnly: true,
      waitForLeaders: false,
      topics: [{ topic, numPartitions: 1 }],
    });
    expect(await admin.listTopics()).not.toContain(topic);
  });

  test.each([
    ['an illegal name', { topic: 'not a topic' }, 'INVALID_TOPIC_EXCEPTION'],
    ['no partitions', { topic: unique('bad'), numPartitions: 0 }, 'INVALID_PARTITIONS'],
    [
      'more replicas than brokers',
      { topic: unique('bad'), replicationFactor: 99 },
      'INVALID_REPLICATION_FACTOR',
    ],
    [
      'a setting that does not exist',
      { topic: unique('bad'), configEntries: [{ name: 'no.such.setting', value: '1' }] },
      'INVALID_CONFIG',
    ],
    [
      'a setting of the wrong type',
      { topic: unique('bad'), configEntries: [{ name: 'retention.ms', value: 'soon' }] },
      'INVALID_CONFIG',
    ],
  ])('refuses %s', async (_what, topic, type) => {
    expect(await errorType((await client.admin()).createTopics({ topics: [topic] }))).toBe(type);
  });

  test('settings given at creation are described, and can be altered', async () => {
    const topic = await client.createTopic(1, {
      configEntries: [
        { name: 'cleanup.policy', value: 'compact' },
        { name: 'retention.ms', value: '86400000' },
      ],
    });
    expect(await configOf(topic, 'cleanup.policy')).toBe('compact');
    expect(await configOf(topic, 'retention.ms')).toBe('86400000');
    await (
      await client.admin()
    ).alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: [{ name: 'retention.ms', value: '3600000' }],
        },
      ],
    });
    await eventually(async () => (await configOf(topic, 'retention.ms')) === '3600000');
    expect(await configOf(topic, 'cleanup.policy')).toBe('delete');
  });

  test('a deleted topic is gone and its name can be used again, empty', async () => {
    const admin = await client.admin();
    const topic = await client.createTopic(1);
    const producer = await client.producer();
    await producer.send({ topic, messages: [{ value: 'old' }] });
    await admin.deleteTopics({ topics: [topic] });
    await eventually(async () => !(await admin.listTopics()).includes(topic));
    const topics = [{ topic, numPartitions: 1 }];
    await eventually(() => admin.createTopics({ waitForLeaders: false, topics }));
    await eventually(async () => (await admin.fetchTopicOffsets(topic))[0]?.high === '0');
    expect(await admin.listTopics()).toContain(topic);
  });

  test('deleting an unknown topic is refused', async () => {
    const admin = client.kafka.admin({ retry: { retries: 0 } });
    await admin.connect();
    expect(await errorType(admin.deleteTopics({ topics: [unique('missing')] }))).toBe(
      'UNKNOWN_TOPIC_OR_PARTITION',
    );
    await admin.disconnect();
  });

  test('partitions can be added, and not removed', async () => {
    const admin = await client.admin();
    const topic = await client.createTopic(1);
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    await eventually(async () => (await partitionCount(topic)) === 3);
    const fewer = admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] });
    expect(await errorType(fewer)).toBe('INVALID_PARTITIONS');
  });

  test('a topic that a producer names for the first time is created', async () => {
    const topic = unique('auto');
    const producer = await client.producer({ allowAutoTopicCreation: true });
    await producer.send({ topic, messages: [{ value: 'first' }] });
    expect((await client.read(topic, 1)).map((message) => message.value)).toEqual(['first']);
  });

  test('metadata without permission to create does not create', async () => {
    const topic = unique('never');
    const admin = await client.admin();
    expect(await errorType(admin.fetchTopicMetadata({ topics: [topic] }))).toBe('UNKNOWN_TOPIC_OR_PARTITION');
    expect(await admin.listTopics()).not.toContain(topic);
  });

  test('the cluster describes itself', async () => {
    const cluster = await (await client.admin()).describeCluster();
    expect(cluster.brokers).toHaveLength(1);
    expect(cluster.controller).toBe(cluster.brokers[0]?.nodeId);
    expect(cluster.clusterId).toEqual(expect.any(String));
  });

  test('broker settings can be described', async () => {
    const admin = await client.admin();
    const { controller } = await admin.describeCluster();
    const described = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.BROKER, name: String(controller) }],
    });
    expect(described.resources[0]?.configEntries.length).toBeGreaterThan(0);
  });
});

import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { eventually, unique } from '../contract/client.js';
import { numbered, range } from '../contract/streams-fixture.js';
import { ApacheKafkaCluster } from '../system/engines/apache-kafka-cluster.js';
import { describeApacheKafka } from '../system/engines/apache-kafka.js';
import { createStreams, type Streams } from '../../streams/streams.js';

const partitions = 6;

describeApacheKafka('three brokers of Apache Kafka', () => {
  let cluster: ApacheKafkaCluster;
  let streams: Streams;

  beforeAll(async () => {
    cluster = await ApacheKafkaCluster.start(3);
    streams = createStreams({
      brokers: cluster.brokers,
      clientId: 'several-brokers',
      logger: silentLogger,
      replicationFactor: 3,
    });
  }, 120_000);
  afterAll(async () => {
    await streams.close();
    await cluster.stop();
  });

  async function valuesOf(topic: string): Promise<number[]> {
    const values: number[] = [];
    const spans = (await streams.ends(topic)).map(({ partition, low, high }) => ({
      topic,
      partition,
      from: low,
      to: high,
    }));
    await streams.read(spans, (records) => void values.push(...records.map(({ value }) => Number(value))));
    return values;
  }

  test('nothing is lost or doubled while brokers are killed under load', { timeout: 120_000 }, async () => {
    const topic = unique('killed');
    await streams.createTopics([{ name: topic, partitions }]);
    const producer = await streams.createProducer();
    let sent = 0;
    const over = new AbortController();
    const clients = range(0, 8).map(async () => {
      while (!over.signal.aborted) await producer.send(numbered(topic, sent, (sent += 20), partitions));
    });
    for (const node of cluster.nodes.slice(1)) {
      const before = sent;
      await eventually(() => sent > before + 1_000, 30_000);
      await node.kill();
      // Partitions of the other brokers continue at once, those of the killed one when they have a new
      // leader.
      const atKill = sent;
      await eventually(() => sent > atKill + 1_000, 60_000);
      await node.restart();
    }
    over.abort();
    await Promise.all(clients);
    const values = await valuesOf(topic);
    expect(values.length).toBe(sent);
    expect(new Set(values).size).toBe(sent);
  });

  test(
    'a topic that asks for more replicas than there are brokers blocks no other',
    { timeout: 60_000 },
    async () => {
      const [strict, other] = [unique('strict'), unique('other')];
      await streams.createTopics([
        { name: strict, partitions, config: { 'min.insync.replicas': '3' } },
        { name: other, partitions },
      ]);
      const producer = await streams.createProducer();
      await producer.send(numbered(strict, 0, partitions, partitions));
      await cluster.nodes[2]?.shutDown();
      const gaveUp = producer.sendEach(numbered(strict, partitions, 12, partitions), { timeoutMs: 3_000 });
      await producer.send(numbered(other, 0, 60, partitions));
      expect((await gaveUp).every((outcome) => 'code' in outcome && outcome.code === 'LOG_TIMEOUT')).toBe(
        true,
      );
      await cluster.nodes[2]?.restart();
      await producer.send(numbered(strict, 12, 18, partitions));
      expect(new Set(await valuesOf(other))).toEqual(new Set(range(0, 60)));
    },
  );
});

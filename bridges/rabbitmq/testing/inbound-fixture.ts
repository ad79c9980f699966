import { silentLogger } from '../../../platform/logger.js';
import { createMetrics } from '../../../platform/metrics.js';
import { systemTopics } from '../../../streams/topics.js';
import { unique } from '../../../tests/contract/client.js';
import type { FlakyNetwork } from '../../../tests/contract/flaky-network.js';
import { StreamsFixture } from '../../../tests/contract/streams-fixture.js';
import { RabbitMq } from '../../../tests/system/engines/rabbitmq-server.js';
import { RabbitConnection } from '../connection.js';
import { FailedMessages } from '../failed-messages.js';
import { InboundQueue, type InboundQueueOptions } from '../inbound-queue.js';
import { followLedgers } from '../ledger.js';
import { Publisher } from '../publisher.js';
import { digestOf } from '../redelivery.js';
import { RabbitClient } from './rabbit-client.js';

export type Publish = InboundQueueOptions['ingestion']['publish'];

/**
 * RabbitMQ and a log, and queues that are read into topics: each message becomes a record with the same
 * bytes.
 */
export class InboundFixture {
  readonly rabbit: RabbitMq;
  readonly client: RabbitClient;
  readonly log: StreamsFixture;
  /** Called after each test, last first. */
  readonly toStop: (() => Promise<void>)[] = [];

  private constructor(rabbit: RabbitMq, client: RabbitClient, log: StreamsFixture) {
    this.rabbit = rabbit;
    this.client = client;
    this.log = log;
  }

  static async start(): Promise<InboundFixture> {
    const rabbit = await RabbitMq.start();
    const client = await RabbitClient.connect(rabbit.url);
    const log = await StreamsFixture.start();
    const { streams } = log.open();
    await streams.createTopics([
      { name: systemTopics.rabbitmq, partitions: 1, config: { 'cleanup.policy': 'compact' } },
    ]);
    return new InboundFixture(rabbit, client, log);
  }

  async stopQueues(): Promise<void> {
    for (const stop of this.toStop.splice(0).toReversed()) await stop();
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.log.close();
    await this.rabbit.stop();
  }

  /** Reads a queue into a topic. `around` may inject failures. */
  async read(
    {
      queue,
      topic,
      bindings = [],
      requireOpen = () => undefined,
    }: { queue: string; topic: string } & Partial<InboundQueueOptions>,
    around: (publish: Publish) => Publish = (publish) => publish,
  ): Promise<{ inbound: InboundQueue; network: FlakyNetwork }> {
    const { streams, network } = this.log.open();
    const connection = this.connect();
    const states = await followLedgers(streams);
    const publish: Publish = async (messages, ledger, before) => {
      await before;
      await ledger.write(
        messages.map(({ content }) => ({ topic, key: null, value: content })),
        messages.map(digestOf),
      );
    };
    const publisher = new Publisher(connection, () => undefined);
    const failed = new FailedMessages(connection, publisher, queue, { firstDelayMs: 20 });
    const inbound = new InboundQueue({
      queue,
      bindings,
      connection,
      streams,
      states,
      ingestion: {
        publish: around(publish),
        deadLetter: async (given, ledger) => {
          await failed.deadLetter(given);
          await ledger.write(
            [],
            given.map(({ message }) => digestOf(message)),
          );
        },
      },
      failed,
      requireOpen,
      prefetch: 500,
      retryLimit: 2,
      metrics: createMetrics(),
      logger: silentLogger,
    });
    this.toStop.push(async () => {
      await inbound.stop();
      await states.stop();
      await connection.close();
    });
    return { inbound, network };
  }

  connect(): RabbitConnection {
    return new RabbitConnection({ url: this.rabbit.url, name: unique('test'), logger: silentLogger });
  }

  /** A queue that is not declared yet, and a topic. */
  async names(): Promise<{ queue: string; topic: string }> {
    const { streams } = this.log.open();
    return { queue: unique('queue'), topic: await this.log.topic(streams) };
  }

  async fill(queue: string, texts: string[], args: Record<string, unknown> = {}): Promise<void> {
    const { channel } = this.client;
    await channel.assertQueue(queue, { durable: true, arguments: args });
    for (const text of texts) channel.sendToQueue(queue, Buffer.from(text), { persistent: true });
    await channel.waitForConfirms();
  }

  /** Returns the values of a topic as text, sorted, once the topic has this number of records. */
  async textsOnLog(topic: string, count: number): Promise<string[]> {
    const records = await this.log.readAll(topic, count);
    return records.map(({ value }) => String(value)).toSorted();
  }
}

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { codecMask, readHeader, transactionalFlag } from '../../embedded/kafka/protocol/record-batch.js';
import { textBatch, WireClient } from '../../embedded/kafka/testing/wire-client.js';
import { startTestBroker } from '../contract/broker.js';
import type { TestBroker } from '../contract/broker.js';

const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
export type Codec = (typeof codecs)[number];
export const compressions = ['gzip', 'snappy', 'lz4', 'zstd'] as const satisfies readonly Codec[];

/**
 * Starts the broker of the client tests: embedded, or the one that `KAFKA_BROKERS` names, as in the contract
 * tests.
 */
export class BrokerFixture {
  private broker: TestBroker | undefined;

  constructor() {
    beforeAll(async () => {
      this.broker = await startTestBroker();
    });
    afterAll(() => this.broker?.stop());
  }

  /** `host:port`. */
  get address(): string {
    const [address] = this.broker?.brokers ?? [];
    if (address === undefined) throw new Error('The broker is not up yet.');
    return address;
  }

  get embedded(): boolean {
    return this.broker?.embedded === true;
  }

  async createTopic(name: string, partitions: number): Promise<void> {
    const errorCode = await this.ask((wire) => wire.createTopic(name, partitions));
    if (errorCode !== 0) throw new Error(`Creating topic ${name} failed with Kafka error ${errorCode}.`);
  }

  /** How the first batch of a topic is stored in the log. */
  async codecOf(topic: string): Promise<Codec | undefined> {
    return this.ask(async (wire) => {
      const { records } = await wire.fetch(topic, 0, 0);
      return codecs[readHeader(records).attributes & codecMask];
    });
  }

  /** Writes a record to partition 0 in a transaction, and aborts it. */
  async writeAborted(topic: string, value: string): Promise<void> {
    await this.ask(async (wire) => {
      const id = unique('aborted');
      const producer = await wire.initProducer(id);
      await wire.addPartitions(id, producer, topic, [0]);
      const { producerId, epoch: producerEpoch } = producer;
      const batch = textBatch([value], {
        producerId,
        producerEpoch,
        baseSequence: 0,
        attributes: transactionalFlag,
      });
      const { errorCode } = await wire.produce(topic, 0, batch, { transactionalId: id });
      const ended = await wire.endTransaction(id, producer, false);
      if (errorCode !== 0 || ended !== 0)
        throw new Error(`Kafka errors ${errorCode} (produce), ${ended} (abort).`);
    });
  }

  private async ask<Answer>(question: (wire: WireClient) => Promise<Answer>): Promise<Answer> {
    const wire = await WireClient.connect(Number(this.address.split(':').at(-1)));
    try {
      return await question(wire);
    } finally {
      wire.close();
    }
  }
}

/** A unique name, on a broker that others use too. */
export function unique(name: string): string {
  return `${name}-${randomUUID().slice(0, 8)}`;
}

import { kafkajs } from '../../streams/kafkajs.js';
import { createStreams } from '../../streams/streams.js';
import type { Streams } from '../../streams/streams.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { createLogger, silentLogger } from '../../platform/logger.js';
import type { Logger } from '../../platform/logger.js';
import { startTestBroker } from './broker.js';
import type { TestBroker } from './broker.js';
import { eventually, unique } from './client.js';
import { FlakyNetwork } from './flaky-network.js';

/** Streams on the broker under test, each on its own network, which the test can break. */
export class StreamsFixture {
  readonly broker: TestBroker;
  readonly #opened: { streams: Streams; network: FlakyNetwork }[] = [];

  private constructor(broker: TestBroker) {
    this.broker = broker;
  }

  static async start(): Promise<StreamsFixture> {
    return new StreamsFixture(await startTestBroker());
  }

  /** `LOG_LEVEL` makes its log visible. */
  open(logger: Logger = process.env['LOG_LEVEL'] ? createLogger(process.env['LOG_LEVEL']) : silentLogger): {
    streams: Streams;
    network: FlakyNetwork;
  } {
    const network = new FlakyNetwork();
    const streams = createStreams({
      brokers: this.broker.brokers,
      clientId: 'streams-test',
      logger,
      socketFactory: network.socketFactory,
    });
    const opened = { streams, network };
    this.#opened.push(opened);
    return opened;
  }

  async close(): Promise<void> {
    for (const { network } of this.#opened) network.restore();
    await Promise.all(this.#opened.map(({ streams }) => streams.close()));
    await this.broker.stop();
  }

  async topic(streams: Streams, partitions = 1, config: Record<string, string> = {}): Promise<string> {
    const name = unique('streams');
    await streams.createTopics([{ name, partitions, config }]);
    return name;
  }

  /**
   * A transaction that stays open until it is aborted: later records are invisible to readers of committed
   * records.
   */
  async openTransaction(topic: string, partition = 0): Promise<{ abort(): Promise<void> }> {
    const { brokers } = this.broker;
    const producer = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).producer({
      transactionalId: unique('open'),
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ partition, value: 'open' }] });
    return {
      async abort() {
        await transaction.abort();
        await producer.disconnect();
      },
    };
  }

  /** Reads committed records of a topic until there are `count` and the last fetch has no more. */
  async readAll(topic: string, count: number): Promise<StreamRecord[]> {
    const { streams } = this.open();
    const records: StreamRecord[] = [];
    const groupId = unique('reader');
    await streams.consume({
      groupId,
      topics: [topic],
      maxWaitMs: 5,
      handle(batch) {
        records.push(...batch);
        return Promise.resolve();
      },
    });
    await eventually(() => records.length >= count);
    // Later records are read too, before the group's lag consists of markers only.
    await eventually(async () => (await streams.lag(groupId, [topic])).every(({ lag }) => lag <= 1));
    return records;
  }
}

export function numbered(topic: string, from: number, to: number, partitions = 1): NewRecord[] {
  return Array.from({ length: to - from }, (_, index) => ({
    topic,
    key: String(from + index),
    partition: (from + index) % partitions,
    value: Buffer.from(String(from + index)),
  }));
}

export function numbersOf(records: StreamRecord[]): number[] {
  return records.map((record) => Number(record.value)).toSorted((a, b) => a - b);
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

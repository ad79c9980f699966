import type { Kafka, Message, PartitionMetadata } from 'kafkajs';
import { internal } from './kafkajs.js';
import { type Broker, type Cluster, createCluster } from './log-cluster.js';

/** What a broker knows an idempotent producer by. */
export interface ProducerId {
  producerId: string;
  producerEpoch: number;
}

/** One partition's part of a request. */
export interface PartitionBatch {
  topic: string;
  partition: number;
  firstSequence: number;
  messages: Message[];
}

/** One broker that records can be sent to. */
export interface LeaderBroker {
  newProducerId(): Promise<ProducerId>;
  /**
   * Sends one request, acknowledged by all in-sync replicas.
   *
   * @returns for each batch the offset of its first record, or what the broker answered instead.
   * @throws when there is no answer: any of the batches may be written.
   */
  produce(producer: ProducerId, batches: readonly PartitionBatch[]): Promise<(number | Error)[]>;
}

/** The brokers, as a producer talks to them: what one topic or partition answers holds no other. */
export interface LogBrokers {
  /** A topic's partitions in order, as far as known; an error when the brokers say that there is no such topic to write to. */
  partitions(topic: string): PartitionMetadata[] | Error | undefined;
  /** Asks for all topics that were named so far, and this. */
  learn(topic: string): Promise<void>;
  /** Asks again where that was long ago, as partitions may have been added since. */
  learnIfOld(): void;
  /** @throws when it can't be reached; nothing was sent then. */
  connect(nodeId: number): Promise<LeaderBroker>;
  close(): Promise<void>;
}

/** A request of the protocol with the code that reads its answer. */
interface Exchange {
  request: unknown;
  response: { decode: (bytes: unknown) => unknown; parse: (answer: unknown) => Promise<unknown> };
}

interface Connection {
  send(exchange: Exchange): Promise<unknown>;
  disconnect(): Promise<unknown>;
}

interface ConnectedBroker extends Broker {
  connectionPool: { getConnection(index: number): Promise<Connection> };
  lookupRequest(apiKey: number, definition: unknown): (fields: object) => Exchange;
  metadata(topics: string[]): Promise<unknown>;
}

interface ProduceAnswer {
  topics: { topicName: string; partitions: { partition: number; errorCode: number; baseOffset: string }[] }[];
}

const protocol = {
  requests: internal<Record<string, unknown>>('protocol/requests/index')['requests'] as Record<
    string,
    unknown
  >,
  apiKeys: internal<Record<string, number>>('protocol/requests/apiKeys'),
  errorOf: internal<{ createErrorFromCode: (code: number) => Error }>('protocol/error').createErrorFromCode,
};

/**
 * A broker answers the requests of one connection in turn, and a write that waits for a replica holds what comes after it. So
 * metadata is asked for on the other one, which kafkajs has for fetching.
 */
const forWriting = 0;
const forMetadata = 1;
/** Brokers answer this at once; another one is asked when they don't. */
const metadataMs = 5_000;
/** How long a leader waits for its replicas: less than the client waits for an answer (`timeoutMs` of the settings). */
const replicationMs = 20_000;
const metadataMaxAgeMs = 300_000;

/**
 * kafkajs' connections, without its producer: that sends to all leaders what belongs to one call, and of an answer it
 * reports the first error alone, so nobody knows which partitions were written.
 */
export class KafkaLogBrokers implements LogBrokers {
  readonly #kafka: Kafka;
  #cluster: Promise<Cluster> | undefined;
  #seen: Cluster['brokerPool']['metadata'] = null;
  #topics = new Map<string, PartitionMetadata[] | Error>();
  #learntAt = 0;
  #metadata: (() => Cluster['brokerPool']['metadata']) | undefined;

  constructor(kafka: Kafka) {
    this.#kafka = kafka;
  }

  partitions(topic: string): PartitionMetadata[] | Error | undefined {
    const metadata = this.#metadata?.();
    if (!metadata) return undefined;
    if (metadata !== this.#seen) {
      this.#seen = metadata;
      this.#topics = new Map(
        metadata.topicMetadata.map((each) => [
          each.topic,
          each.topicErrorCode === 0
            ? each.partitionMetadata.toSorted((a, b) => a.partitionId - b.partitionId)
            : protocol.errorOf(each.topicErrorCode),
        ]),
      );
    }
    return this.#topics.get(topic);
  }

  async learn(topic: string): Promise<void> {
    const cluster = await this.#connected();
    const before = cluster.brokerPool.metadata;
    await cluster.addMultipleTargetTopics([topic]);
    if (cluster.brokerPool.metadata === before) await cluster.refreshMetadata();
    this.#learntAt = Date.now();
  }

  learnIfOld(): void {
    if (Date.now() - this.#learntAt < metadataMaxAgeMs) return;
    this.#learntAt = Date.now();
    void this.#connected()
      .then((cluster) => cluster.refreshMetadata())
      .catch(() => undefined);
  }

  async connect(nodeId: number): Promise<LeaderBroker> {
    const cluster = await this.#connected();
    const broker = (await cluster.findBroker({ nodeId: String(nodeId) })) as ConnectedBroker;
    await broker.connectionPool.getConnection(forWriting);
    return {
      async newProducerId() {
        const answer = await ask(broker, forWriting, 'InitProducerId', { transactionTimeout: 0 });
        const { errorCode, producerId, producerEpoch } = answer as ProducerId & { errorCode: number };
        if (errorCode !== 0) throw protocol.errorOf(errorCode);
        return { producerId, producerEpoch };
      },
      async produce(producer, batches) {
        const fields = { ...producer, acks: -1, timeout: replicationMs, topicData: byTopic(batches) };
        const { topics } = (await ask(broker, forWriting, 'Produce', fields)) as ProduceAnswer;
        const answers = new Map<string, number | Error>();
        for (const { topicName, partitions } of topics)
          for (const { partition, errorCode, baseOffset } of partitions)
            answers.set(
              `${topicName}/${partition}`,
              errorCode === 0 ? Number(baseOffset) : protocol.errorOf(errorCode),
            );
        return batches.map(
          ({ topic, partition }) =>
            answers.get(`${topic}/${partition}`) ?? new Error('The broker did not answer for this partition'),
        );
      },
    };
  }

  async close(): Promise<void> {
    const cluster = this.#cluster;
    this.#cluster = undefined;
    await cluster?.then((connected) => connected.disconnect()).catch(() => undefined);
  }

  #connected(): Promise<Cluster> {
    this.#cluster ??= this.#connect();
    return this.#cluster;
  }

  async #connect(): Promise<Cluster> {
    const cluster = createCluster(this.#kafka);
    const { brokerPool } = cluster;
    const { createBroker } = brokerPool;
    // kafkajs throws a whole answer away when one of its topics is missing, or one partition has no leader.
    brokerPool.createBroker = (options) => {
      const broker = createBroker(options) as ConnectedBroker;
      broker.metadata = (topics) =>
        inTime(
          ask(broker, forMetadata, 'Metadata', { topics, allowAutoTopicCreation: false }),
          metadataMs,
          'No answer about the topics',
        );
      return broker;
    };
    this.#metadata = () => brokerPool.metadata;
    try {
      await cluster.connect();
      return cluster;
    } catch (error) {
      this.#cluster = undefined;
      await cluster.disconnect().catch(() => undefined);
      throw error;
    }
  }
}

/** @returns the answer as it is, whatever errors are in it. */
async function ask(
  broker: ConnectedBroker,
  connectionIndex: number,
  name: 'Produce' | 'Metadata' | 'InitProducerId',
  fields: object,
): Promise<unknown> {
  const { apiKeys, requests } = protocol;
  const { request, response } = broker.lookupRequest(apiKeys[name] ?? -1, requests[name])(fields);
  const connection = await broker.connectionPool.getConnection(connectionIndex);
  try {
    return await connection.send({
      request,
      response: { decode: response.decode, parse: (answer) => Promise.resolve(answer) },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.name : '';
    if (reason === 'KafkaJSConnectionClosedError' || reason === 'KafkaJSRequestTimeoutError')
      await connection.disconnect().catch(() => undefined);
    throw error;
  }
}

async function inTime<T>(answer: Promise<T>, ms: number, problem: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${problem} in ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function byTopic(batches: readonly PartitionBatch[]): { topic: string; partitions: PartitionBatch[] }[] {
  const topics = new Map<string, PartitionBatch[]>();
  for (const batch of batches) {
    const known = topics.get(batch.topic);
    if (known) known.push(batch);
    else topics.set(batch.topic, [batch]);
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }));
}

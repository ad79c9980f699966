import type { Kafka, Message, PartitionMetadata } from 'kafkajs';
import {
  ask,
  type Cluster,
  type ConnectedBroker,
  createCluster,
  errorOf,
  forWriting,
} from './log-cluster.js';

/** A broker's identity of an idempotent producer. */
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

/** A broker that accepts records. */
export interface LeaderBroker {
  newProducerId(): Promise<ProducerId>;
  /**
   * Sends one request, acknowledged by all in-sync replicas.
   *
   * @returns for each batch the offset of its first record, or the broker's error.
   * @throws when there is no answer: any of the batches may be written.
   */
  produce(producer: ProducerId, batches: readonly PartitionBatch[]): Promise<(number | Error)[]>;
}

/** A producer's view of the brokers: an error of one topic or partition blocks no other. */
export interface LogBrokers {
  /**
   * Returns a topic's known partitions in order; an error when the brokers say that the topic does not exist
   * or can't be written.
   */
  partitions(topic: string): PartitionMetadata[] | Error | undefined;
  /** Requests metadata of this topic and of all others named so far. */
  learn(topic: string): Promise<void>;
  /** Refreshes old metadata, as partitions may have been added since. */
  learnIfOld(): void;
  /** @throws when it is unreachable; nothing was sent then. */
  connect(nodeId: number): Promise<LeaderBroker>;
  close(): Promise<void>;
}

interface ProduceAnswer {
  topics: { topicName: string; partitions: { partition: number; errorCode: number; baseOffset: string }[] }[];
}

/**
 * How long a leader waits for its replicas: less than the client waits for an answer (`timeoutMs` of the
 * settings).
 */
const replicationMs = 20_000;
const metadataMaxAgeMs = 300_000;

/**
 * Uses kafkajs' connections, without its producer, which sends one call's records to all leaders and reports
 * only the first error of the answers, so that the caller can't tell which partitions were written.
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
            : errorOf(each.topicErrorCode),
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
        if (errorCode !== 0) throw errorOf(errorCode);
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
              errorCode === 0 ? Number(baseOffset) : errorOf(errorCode),
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

function byTopic(batches: readonly PartitionBatch[]): { topic: string; partitions: PartitionBatch[] }[] {
  const topics = new Map<string, PartitionBatch[]>();
  for (const batch of batches) {
    const known = topics.get(batch.topic);
    if (known) known.push(batch);
    else topics.set(batch.topic, [batch]);
  }
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }));
}

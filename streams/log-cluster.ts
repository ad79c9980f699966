import type { Kafka, PartitionMetadata } from 'kafkajs';
import { internal } from './kafkajs.js';
import type { FetchedMessage } from './kafkajs-decode.js';

/** One partition's part of a fetch. */
export interface FetchedPartition {
  partition: number;
  lastStableOffset: string;
  abortedTransactions: { producerId: string; firstOffset: string }[] | null;
  messages: FetchedMessage[];
}

/** A broker in kafkajs: one method for each request of the protocol, which throws the broker's error. */
export interface Broker {
  connect(): Promise<void>;
  /** The supported versions, by API key. */
  versions: Record<number, { minVersion: number; maxVersion: number }> | null;
  fetch(request: {
    isolationLevel: number;
    maxWaitTime: number;
    maxBytes: number;
    topics: {
      topic: string;
      partitions: { partition: number; fetchOffset: string; maxBytes: number; currentLeaderEpoch?: number }[];
    }[];
  }): Promise<{ throttleTime: number; responses: { topicName: string; partitions: FetchedPartition[] }[] }>;
  listOffsets(request: {
    replicaId: number;
    isolationLevel: number;
    topics: { topic: string; partitions: { partition: number; timestamp: string }[] }[];
  }): Promise<{ responses: { partitions: { partition: number; offset: string }[] }[] }>;
  produce(request: {
    acks: number;
    timeout: number;
    topicData: {
      topic: string;
      partitions: { partition: number; messages: { key: Buffer; value: Buffer; timestamp: string }[] }[];
    }[];
  }): Promise<unknown>;
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  findGroupCoordinator(request: {
    groupId: string;
    coordinatorType: number;
  }): Promise<{ coordinator: { nodeId: number } }>;
  endTxn(request: {
    transactionalId: string;
    producerId: string;
    producerEpoch: number;
    transactionResult: boolean;
  }): Promise<unknown>;
}

/** A request of the protocol with the decoder of its answer. */
interface Exchange {
  request: unknown;
  response: { decode: (bytes: unknown) => unknown; parse: (answer: unknown) => Promise<unknown> };
}

interface Connection {
  send(exchange: Exchange): Promise<unknown>;
  disconnect(): Promise<unknown>;
}

/** A broker that accepts requests without kafkajs' decoding of the answer. */
export interface ConnectedBroker extends Broker {
  connectionPool: { getConnection(index: number): Promise<Connection> };
  lookupRequest(apiKey: number, definition: unknown): (fields: object) => Exchange;
  metadata(topics: string[]): Promise<unknown>;
}

/** kafkajs' own view of the brokers, which its producers and consumers use. */
export interface Cluster {
  brokerPool: {
    metadata: {
      clusterId?: string;
      brokers: { nodeId: number; host: string; port: number }[];
      topicMetadata: { topic: string; topicErrorCode: number; partitionMetadata: PartitionMetadata[] }[];
    } | null;
    createBroker: (options: unknown) => Broker;
  };
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  refreshMetadata(): Promise<void>;
  addMultipleTargetTopics(topics: string[]): Promise<void>;
  findBroker(by: { nodeId: string }): Promise<Broker>;
  findControllerBroker(): Promise<Broker>;
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>;
}

export const readCommitted = 1;
const readUncommitted = 0;

/** Returns kafkajs' error for an error code of the protocol. */
export const errorOf = internal<{ createErrorFromCode: (code: number) => Error }>(
  'protocol/error',
).createErrorFromCode;

const protocol = {
  requests: internal<Record<string, unknown>>('protocol/requests/index')['requests'] as Record<
    string,
    unknown
  >,
  apiKeys: internal<Record<string, number>>('protocol/requests/apiKeys'),
};

/**
 * A broker answers the requests of one connection in turn, and a write that waits for a replica delays later
 * ones. So metadata requests use the other connection, which kafkajs has for fetching.
 */
export const forWriting = 0;
const forMetadata = 1;
/** Brokers answer this at once; after this time, another one is asked. */
const metadataMs = 5_000;
/**
 * Requests that kafkajs has no public call for: reading a position of the log without a consumer group, and
 * checking whether a request would be allowed. A test fails when kafkajs' version changes, so that this is
 * reviewed.
 */
export function createCluster(kafka: Kafka): Cluster {
  const create = Object.getOwnPropertySymbols(kafka).find(
    ({ description }) => description === 'private:Kafka:createCluster',
  );
  if (create === undefined) throw new Error('kafkajs has changed: it has no createCluster any more');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped inside of kafkajs; the tests hold its shape
  const make = Reflect.get(kafka, create) as (options: {
    allowAutoTopicCreation: boolean;
    isolationLevel: number;
  }) => Cluster;
  const cluster = make({ allowAutoTopicCreation: false, isolationLevel: readCommitted });
  const { createBroker } = cluster.brokerPool;
  // kafkajs discards a whole answer when one of its topics is missing, or one partition has no leader.
  cluster.brokerPool.createBroker = (options) => {
    const broker = createBroker(options) as ConnectedBroker;
    broker.metadata = (topics) =>
      inTime(
        ask(broker, forMetadata, 'Metadata', { topics, allowAutoTopicCreation: false }),
        metadataMs,
        'No answer about the topics',
      );
    return broker;
  };
  return cluster;
}

/** Returns a topic's partitions. @throws the brokers' error for the topic, as kafkajs would. */
export function partitionsOf(cluster: Cluster, topic: string): PartitionMetadata[] {
  const found = cluster.brokerPool.metadata?.topicMetadata.find((each) => each.topic === topic);
  if (found !== undefined && found.topicErrorCode !== 0) throw errorOf(found.topicErrorCode);
  return found?.partitionMetadata ?? [];
}

/**
 * Returns the first offset of a partition, or the next one of a producer, open transactions included.
 *
 * @throws kafkajs' errors.
 */
export async function offsetOf(
  broker: Broker,
  { topic, partition }: { topic: string; partition: number },
  which: 'earliest' | 'latest',
): Promise<number> {
  const partitions = [{ partition, timestamp: which === 'earliest' ? '-2' : '-1' }];
  const request = { replicaId: -1, isolationLevel: readUncommitted, topics: [{ topic, partitions }] };
  const { responses } = await broker.listOffsets(request);
  return Number(responses[0]?.partitions[0]?.offset ?? 0);
}

/** @returns the answer unchanged, including its errors. */
export async function ask(
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

import type { Kafka, PartitionMetadata } from 'kafkajs';
import type { FetchedMessage } from './kafkajs-decode.js';

/** Of a fetch, one partition's part. */
export interface FetchedPartition {
  partition: number;
  lastStableOffset: string;
  abortedTransactions: { producerId: string; firstOffset: string }[] | null;
  messages: FetchedMessage[];
}

/** One broker, as kafkajs talks to it: one method for each request of the protocol, which throws what the broker answers. */
export interface Broker {
  connect(): Promise<void>;
  /** By request's number the versions that the broker takes. */
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

/** kafkajs' own view of the brokers, which its producers and consumers stand on. */
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
export const readUncommitted = 0;

/**
 * Requests that kafkajs has no public call for: reading a place of the log without a consumer group, and asking whether a
 * request would be allowed. A test fails when kafkajs' version changes, so that this is looked at again.
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
  return make({ allowAutoTopicCreation: false, isolationLevel: readCommitted });
}

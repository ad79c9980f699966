import type { Admin } from 'kafkajs';
import { backoff } from '../platform/backoff.js';
import { typeOf } from './kafka-errors.js';
import { kafkajs } from './kafkajs.js';
import { type Broker, type Cluster, readCommitted } from './log-cluster.js';

/** Permissions of a client: the operations of Kafka's access lists, by their resource. */
export interface Permission {
  operation: 'DESCRIBE' | 'READ' | 'WRITE' | 'CREATE' | 'DESCRIBE_CONFIGS';
  resource: 'topic' | 'group' | 'transactional-id';
  name: string;
}

/**
 * No topic has this many partitions: a request for this one is refused, but its permission is checked first.
 */
const noPartition = 2_147_483_647;
const groupCoordinator = 0;
const transactionCoordinator = 1;
const maxAttempts = 6;

/**
 * Makes a request that is checked for a permission and then fails for another reason, such as a partition,
 * member or producer that does not exist.
 *
 * @throws kafkajs' error when the broker refuses it.
 */
export async function probe(
  admin: Admin,
  cluster: Cluster,
  { operation, resource, name }: Permission,
): Promise<unknown> {
  if (operation === 'CREATE') {
    const topic = { topic: name, numPartitions: 1, replicationFactor: 1 };
    return admin.createTopics({ topics: [topic], validateOnly: true });
  }
  if (operation === 'DESCRIBE_CONFIGS') return describeSettings(admin, name);
  if (operation === 'DESCRIBE') return admin.fetchTopicMetadata({ topics: [name] });
  if (resource === 'group') {
    const broker = await coordinatorOf(cluster, name, groupCoordinator);
    return broker.heartbeat({ groupId: name, groupGenerationId: 0, memberId: 'millrace-doctor' });
  }
  if (resource === 'transactional-id') {
    const broker = await coordinatorOf(cluster, name, transactionCoordinator);
    // No producer has this id: ids are assigned from 0.
    const nobody = { producerId: '9000000000000000000', producerEpoch: 0 };
    return broker.endTxn({ transactionalId: name, ...nobody, transactionResult: false });
  }
  return attemptOnTopic(await cluster.findControllerBroker(), operation, name);
}

/**
 * Requested directly: kafkajs' own search hides why there is none. Brokers that have just started have none
 * for a moment.
 */
async function coordinatorOf(cluster: Cluster, groupId: string, coordinatorType: number): Promise<Broker> {
  const any = await cluster.findControllerBroker();
  for (let attempt = 0; ; attempt++) {
    try {
      const { coordinator } = await any.findGroupCoordinator({ groupId, coordinatorType });
      return await cluster.findBroker({ nodeId: String(coordinator.nodeId) });
    } catch (error) {
      if (typeOf(error) !== 'GROUP_COORDINATOR_NOT_AVAILABLE' || attempt >= maxAttempts) throw error;
      await backoff(attempt, { maxMs: 500 });
    }
  }
}

async function attemptOnTopic(
  broker: Broker,
  operation: Permission['operation'],
  topic: string,
): Promise<unknown> {
  const partition = noPartition;
  if (operation === 'WRITE') {
    const message = { key: Buffer.alloc(0), value: Buffer.alloc(0), timestamp: String(Date.now()) };
    const topicData = [{ topic, partitions: [{ partition, messages: [message] }] }];
    return broker.produce({ acks: -1, timeout: 1_000, topicData });
  }
  return broker.fetch({
    isolationLevel: readCommitted,
    maxWaitTime: 1,
    maxBytes: 1,
    topics: [{ topic, partitions: [{ partition, fetchOffset: '0', maxBytes: 1 }] }],
  });
}

/** Requests settings of a topic, with the permission to see them. */
export function describeSettings(admin: Admin, name: string) {
  return admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name }],
  });
}

import type { Admin, Kafka } from 'kafkajs';
import type { StreamsSettings } from './connection.js';
import { createKafka } from './connection.js';
import { toMillraceError, typeOf } from './kafka-errors.js';
import { LogAdmin } from './log-admin.js';
import { type Broker, type Cluster, createCluster } from './log-cluster.js';
import { describeSettings, type Permission, probe } from './log-permissions.js';
import { LogReader } from './log-reader.js';

export interface BrokerState {
  id: number;
  address: string;
  /** Time to connect and log in; undefined when that failed. */
  connectedInMs?: number;
  error?: string;
}

export interface TopicState {
  name: string;
  partitions: { partition: number; leader: number; replicas: number[]; inSync: number[] }[];
  /** The topic's settings by Kafka's names; undefined without the permission. */
  settings: ReadonlyMap<string, string> | undefined;
}

export interface GroupState {
  groupId: string;
  /** `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty` or `Dead`. */
  state: string;
  members: number;
}

/**
 * Millrace's requests: by API key the newest version that kafkajs supports, from kafkajs' own list. A broker
 * must support a version from its minimum up to that one.
 */
const requests: readonly [name: string, number: number, newest: number][] = [
  ['Produce', 0, 7],
  ['Fetch', 1, 11],
  ['ListOffsets', 2, 3],
  ['Metadata', 3, 6],
  ['OffsetCommit', 8, 5],
  ['OffsetFetch', 9, 4],
  ['FindCoordinator', 10, 2],
  ['JoinGroup', 11, 5],
  ['Heartbeat', 12, 3],
  ['LeaveGroup', 13, 3],
  ['SyncGroup', 14, 3],
  ['CreateTopics', 19, 3],
  ['InitProducerId', 22, 1],
  ['AddPartitionsToTxn', 24, 1],
  ['AddOffsetsToTxn', 25, 1],
  ['EndTxn', 26, 1],
  ['TxnOffsetCommit', 28, 1],
  ['DescribeConfigs', 32, 2],
];

/**
 * DescribeLogDirs. Brokers do not report their version to clients, but Apache Kafka supports version 5 of
 * this request since 4.3 and not earlier (verified with 4.2.1 and 4.3.1).
 */
const describeLogDirs = 35;

/**
 * Inspects a log without changing it: nothing is written, created, joined or committed. Fails early instead
 * of retrying long.
 */
export class LogInspection {
  readonly #kafka: Kafka;
  readonly #reader: LogReader;
  /** A separate client: the one for offsets must not make other requests meanwhile. */
  readonly #ends: LogAdmin;
  #admin: Promise<Admin> | undefined;
  #cluster: Promise<Cluster> | undefined;

  constructor(settings: Omit<StreamsSettings, 'retries'>) {
    this.#kafka = createKafka({ ...settings, retries: 1 });
    this.#ends = new LogAdmin(() => this.#kafka, settings.logger, -1);
    this.#reader = new LogReader(this.#kafka, (topic) => this.#ends.ends(topic));
  }

  /** @throws MillraceError `LOG_UNAVAILABLE`, `LOG_UNAUTHORIZED`, when no broker accepts this client. */
  async brokers(): Promise<BrokerState[]> {
    try {
      // kafkajs' admin asks any broker, even an unavailable one; this asks one that it can connect to.
      const cluster = await this.#connect();
      await cluster.refreshMetadata();
      const brokers = cluster.brokerPool.metadata?.brokers ?? [];
      return await Promise.all(
        brokers.map(async ({ nodeId: id, host, port }) => {
          const startedAt = performance.now();
          const address = `${host}:${port}`;
          // A new connection, so that the time is meaningful.
          const own = createCluster(this.#kafka);
          try {
            await own.connect();
            await own.refreshMetadata();
            await (await own.findBroker({ nodeId: String(id) })).connect();
            return { id, address, connectedInMs: performance.now() - startedAt };
          } catch (error) {
            await cluster.refreshMetadata().catch(() => undefined);
            return { id, address, error: toMillraceError(error, `Connecting to ${address}`).message };
          } finally {
            await own.disconnect();
          }
        }),
      );
    } catch (error) {
      throw toMillraceError(error, 'Asking the log for its brokers');
    }
  }

  /** Returns Millrace's requests that the brokers do not support. */
  async missingRequests(): Promise<string[]> {
    const versions = await this.#requestVersions();
    const missing = requests.filter(([, number, newest]) => {
      const taken = versions[number];
      return taken === undefined || taken.minVersion > newest;
    });
    return missing.map(([name]) => name);
  }

  /**
   * Whether the brokers are Apache Kafka 4.3 or later. Up to 4.4 at least these drop the marker that ends a
   * transaction in a partition without a leader at that moment (KAFKA-20734).
   */
  async mayDropMarkers(): Promise<boolean> {
    return ((await this.#requestVersions())[describeLogDirs]?.maxVersion ?? 0) >= 5;
  }

  /** Returns the names of all visible topics. */
  async topicNames(): Promise<string[]> {
    try {
      return await (await this.#administer()).listTopics();
    } catch (error) {
      throw toMillraceError(error, 'Listing the topics');
    }
  }

  /** Returns the topics that exist. */
  async topics(names: readonly string[]): Promise<TopicState[]> {
    const admin = await this.#administer();
    try {
      const [{ topics }, settings] = await Promise.all([
        admin.fetchTopicMetadata({ topics: [...names] }),
        Promise.all(names.map((name) => this.#settings(admin, name))),
      ]);
      return names.map((name, index) => ({
        name,
        settings: settings[index],
        partitions: (topics.find((topic) => topic.name === name)?.partitions ?? [])
          .map(({ partitionId: partition, leader, replicas, isr: inSync }) => ({
            partition,
            leader,
            replicas,
            inSync,
          }))
          .toSorted((a, b) => a.partition - b.partition),
      }));
    } catch (error) {
      throw toMillraceError(error, 'Looking at the topics');
    }
  }

  async groups(groupIds: readonly string[]): Promise<GroupState[]> {
    try {
      const { groups } = await (await this.#administer()).describeGroups([...groupIds]);
      return groups.map(({ groupId, state, members }) => ({ groupId, state, members: members.length }));
    } catch (error) {
      throw toMillraceError(error, 'Looking at the consumer groups');
    }
  }

  /**
   * Whether this client has a permission, by {@link probe}.
   *
   * @throws MillraceError when the broker does not answer.
   */
  async isAllowed(permission: Permission): Promise<boolean> {
    try {
      await probe(await this.#administer(), await this.#connect(), permission);
      return true;
    } catch (error) {
      const type = typeOf(error);
      if (type.endsWith('AUTHORIZATION_FAILED')) return false;
      // Any other answer of a coordinator or leader means that the permission was there.
      if (type !== '' && type !== 'GROUP_COORDINATOR_NOT_AVAILABLE') return true;
      throw toMillraceError(error, `Asking for ${permission.operation} on ${permission.name}`);
    }
  }

  /**
   * Measures how far the broker's clock is ahead of the one that stamped a transaction's last record, from
   * the time of the transaction's end marker, which is the broker's. The result includes the duration of the
   * transaction until its end.
   *
   * @returns milliseconds, and the marker's time; undefined when the partition does not end with a
   *   transaction.
   */
  async clockAhead(topic: string, partition: number): Promise<{ aheadMs: number; at: number } | undefined> {
    const ends = await this.#ends.ends(topic);
    const end = ends.find((each) => each.partition === partition)?.high ?? 0;
    if (end < 2) return undefined;
    const { messages } = await this.#reader.fetch(topic, partition, end - 2);
    const [record, marker] = messages.slice(-2);
    if (record === undefined || marker === undefined || record.isControlRecord || !marker.isControlRecord)
      return undefined;
    return { aheadMs: Number(marker.timestamp) - Number(record.timestamp), at: Number(marker.timestamp) };
  }

  async close(): Promise<void> {
    const [admin, cluster] = await Promise.all([
      this.#admin?.catch(() => undefined),
      this.#cluster?.catch(() => undefined),
    ]);
    await Promise.all([
      admin?.disconnect().catch(() => undefined),
      cluster?.disconnect().catch(() => undefined),
      this.#reader.close(),
      this.#ends.close(),
    ]);
  }

  async #settings(admin: Admin, topic: string): Promise<ReadonlyMap<string, string> | undefined> {
    try {
      const { resources } = await describeSettings(admin, topic);
      return new Map(
        resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]),
      );
    } catch (error) {
      if (typeOf(error).endsWith('AUTHORIZATION_FAILED')) return undefined;
      throw error;
    }
  }

  #administer(): Promise<Admin> {
    this.#admin ??= (async () => {
      const admin = this.#kafka.admin();
      try {
        await admin.connect();
        return admin;
      } catch (error) {
        this.#admin = undefined;
        await admin.disconnect();
        throw toMillraceError(error, 'Connecting to the log');
      }
    })();
    return this.#admin;
  }

  async #requestVersions(): Promise<NonNullable<Broker['versions']>> {
    return (await (await this.#connect()).findControllerBroker()).versions ?? {};
  }

  #connect(): Promise<Cluster> {
    this.#cluster ??= (async () => {
      const cluster = createCluster(this.#kafka);
      try {
        await cluster.connect();
        await cluster.refreshMetadata();
        return cluster;
      } catch (error) {
        this.#cluster = undefined;
        await cluster.disconnect();
        throw error;
      }
    })();
    return this.#cluster;
  }
}

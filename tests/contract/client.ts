import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { Kafka, logLevel, Partitioners } from 'kafkajs';
import type {
  Admin,
  Consumer,
  ConsumerConfig,
  ITopicConfig,
  KafkaMessage,
  Producer,
  ProducerConfig,
} from 'kafkajs';
import { startTestBroker } from './broker.js';

const require = createRequire(import.meta.url);

/** Members of kafkajs' low-level client that its types lack: one request, one answer, no retries. */
export interface RawBroker {
  findGroupCoordinator(request: { groupId: string; coordinatorType: 0 | 1 }): Promise<unknown>;
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  offsetCommit(request: {
    groupId: string;
    groupGenerationId: number;
    memberId: string;
    topics: { topic: string; partitions: { partition: number; offset: string }[] }[];
  }): Promise<unknown>;
  produce(request: RawProduce): Promise<{
    topics: {
      topicName: string;
      partitions: { partition: number; errorCode: number; baseOffset: string }[];
    }[];
  }>;
  initProducerId(request: {
    transactionalId?: string;
    transactionTimeout: number;
  }): Promise<{ producerId: string; producerEpoch: number }>;
  addPartitionsToTxn(request: RawTransaction & { topics: RawTopic[] }): Promise<unknown>;
  addOffsetsToTxn(request: RawTransaction & { groupId: string }): Promise<unknown>;
  txnOffsetCommit(
    request: RawTransaction & {
      groupId: string;
      topics: { topic: string; partitions: { partition: number; offset: string }[] }[];
    },
  ): Promise<unknown>;
  endTxn(request: RawTransaction & { transactionResult: boolean }): Promise<unknown>;
  fetch(request: RawFetch): Promise<{ responses: RawFetchTopic[] }>;
}
export interface RawTransaction {
  transactionalId: string;
  producerId: string;
  producerEpoch: number;
}
interface RawTopic {
  topic: string;
  partitions: number[];
}
interface RawProduce {
  transactionalId?: string;
  producerId?: string;
  producerEpoch?: number;
  acks?: number;
  topicData: {
    topic: string;
    partitions: { partition: number; firstSequence?: number; messages: { key?: string; value: string }[] }[];
  }[];
}
interface RawFetch {
  replicaId: -1;
  isolationLevel: 0 | 1;
  maxWaitTime?: number;
  minBytes?: number;
  maxBytes?: number;
  topics: { topic: string; partitions: { partition: number; fetchOffset: string; maxBytes: number }[] }[];
}
export interface RawFetchTopic {
  topicName: string;
  partitions: {
    partition: number;
    errorCode: number;
    highWatermark: string;
    lastStableOffset: string;
    abortedTransactions: { producerId: string; firstOffset: string }[];
    messages: KafkaMessage[];
  }[];
}

/** A message as the tests compare it. */
export interface Read {
  partition: number;
  offset: number;
  timestamp: number;
  key: string | null;
  value: string | null;
  headers: KafkaMessage['headers'];
}

/** kafkajs clients of the broker under test; `close()` closes everything that it created. */
export class ContractClient {
  readonly kafka: Kafka;
  readonly brokers: string[];
  readonly embedded: boolean;
  readonly #stopBroker: () => Promise<void>;
  readonly #closers: (() => Promise<void>)[] = [];
  #admin: Admin | undefined;

  private constructor(broker: { brokers: string[]; embedded: boolean; stop: () => Promise<void> }) {
    this.brokers = broker.brokers;
    this.embedded = broker.embedded;
    this.#stopBroker = broker.stop;
    this.kafka = new Kafka({
      brokers: broker.brokers,
      clientId: 'contract',
      logLevel: logLevel.NOTHING,
      connectionTimeout: 5_000,
      retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 },
    });
  }

  /** On a broker that the caller stops, or else on a new one. */
  static async start(broker?: { brokers: string[]; embedded: boolean }): Promise<ContractClient> {
    if (broker) return new ContractClient({ ...broker, stop: () => Promise.resolve() });
    return new ContractClient(await startTestBroker());
  }

  async close(): Promise<void> {
    await Promise.all(this.#closers.map((close) => close()));
    await this.#stopBroker();
  }

  async admin(): Promise<Admin> {
    if (!this.#admin) {
      this.#admin = this.kafka.admin();
      await this.#admin.connect();
      const admin = this.#admin;
      this.#closers.push(() => admin.disconnect());
    }
    return this.#admin;
  }

  async producer(config: ProducerConfig = {}): Promise<Producer> {
    const producer = this.kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...config });
    await producer.connect();
    this.#closers.push(() => producer.disconnect());
    return producer;
  }

  async consumer(config: ConsumerConfig): Promise<Consumer> {
    const consumer = this.kafka.consumer({
      maxWaitTimeInMs: 100,
      heartbeatInterval: 200,
      rebalanceTimeout: 5_000,
      ...config,
    });
    await consumer.connect();
    this.#closers.push(() => consumer.disconnect());
    return consumer;
  }

  async createTopic(partitions = 1, options: Partial<ITopicConfig> = {}): Promise<string> {
    const topic = options.topic ?? unique('topic');
    const admin = await this.admin();
    await admin.createTopics({
      waitForLeaders: false,
      topics: [{ topic, numPartitions: partitions, ...options }],
    });
    // kafkajs would wait for leaders in the metadata. A broker of Apache Kafka has them before it serves the
    // partitions, and may not know the topic at all for a moment.
    await eventually(async () => (await admin.fetchTopicOffsets(topic)).length > 0);
    return topic;
  }

  /** A connection for single requests; the only broker of the cluster leads and coordinates everything. */
  async rawBroker(): Promise<RawBroker> {
    const Cluster = require('kafkajs/src/cluster');
    const { createLogger } = require('kafkajs/src/loggers');
    const cluster = new Cluster({
      logger: createLogger({ level: 0, logCreator: () => () => undefined }),
      socketFactory: require('kafkajs/src/network/socketFactory')(),
      brokers: this.brokers,
      clientId: 'contract-raw',
      connectionTimeout: 5_000,
      offsets: new Map(),
      retry: { retries: 5 },
      allowAutoTopicCreation: false,
    });
    await cluster.connect();
    await cluster.refreshMetadata();
    this.#closers.push(() => cluster.disconnect());
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- untyped part of kafkajs
    return (await cluster.findControllerBroker()) as RawBroker;
  }

  /**
   * Initialises a transactional id and returns it with its producer id. Retries while the broker finishes an
   * earlier transaction.
   */
  async initTransactions(
    raw: RawBroker,
    transactionalId: string,
    timeoutMs = 60_000,
  ): Promise<RawTransaction> {
    await this.coordinatorReady(raw, transactionalId);
    const { producerId, producerEpoch } = await eventually(() =>
      raw.initProducerId({ transactionalId, transactionTimeout: timeoutMs }),
    );
    return { transactionalId, producerId, producerEpoch };
  }

  async coordinatorReady(raw: RawBroker, id: string, coordinatorType: 0 | 1 = 1): Promise<void> {
    await eventually(() => raw.findGroupCoordinator({ groupId: id, coordinatorType }));
  }

  /**
   * Commits for a group without members, in one request (kafkajs' own `setOffsets` joins the group: five
   * seconds).
   */
  async commitOffset(groupId: string, topic: string, offset: number): Promise<void> {
    const raw = await this.rawBroker();
    await this.coordinatorReady(raw, groupId, 0);
    await eventually(() =>
      raw.offsetCommit({
        groupId,
        groupGenerationId: -1,
        memberId: '',
        topics: [{ topic, partitions: [{ partition: 0, offset: String(offset) }] }],
      }),
    );
  }

  /** Reads a topic from its beginning until `count` messages are there (with a temporary group). */
  async read(topic: string, count: number, config: Partial<ConsumerConfig> = {}): Promise<Read[]> {
    const messages: Read[] = [];
    const consumer = this.kafka.consumer({ maxWaitTimeInMs: 100, groupId: unique('reader'), ...config });
    const done = deferred();
    consumer.on('consumer.crash', ({ payload }) => done.reject(payload.error));
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage({ partition, message }) {
        messages.push(toRead(partition, message));
        if (messages.length >= count) done.resolve();
        return Promise.resolve();
      },
    });
    try {
      await within(done.promise, 20_000, () => `${messages.length} of ${count} messages of ${topic} arrived`);
    } finally {
      await consumer.disconnect();
    }
    return messages.toSorted((a, b) => a.partition - b.partition || a.offset - b.offset);
  }
}

export function toRead(partition: number, message: KafkaMessage): Read {
  return {
    partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    key: message.key?.toString() ?? null,
    value: message.value?.toString() ?? null,
    headers: message.headers,
  };
}

export function unique(prefix: string): string {
  return `${prefix}-${randomUUID().slice(0, 13)}`;
}

/** Calls until it does not throw (and, when it returns a boolean, until that is `true`). */
export async function eventually<T>(attempt: () => Promise<T> | T, timeoutMs = 20_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      const result = await attempt();
      if (result !== false) return result;
      if (Date.now() > deadline) throw new Error('the condition did not become true in time');
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** A promise with its resolvers (`Promise.withResolvers` needs Node 22). */
export function deferred(): { promise: Promise<void>; resolve(): void; reject(error: Error): void } {
  const ends: { resolve?: () => void; reject?: (error: Error) => void } = {};
  const promise = new Promise<void>((resolve, reject) => {
    ends.resolve = resolve;
    ends.reject = reject;
  });
  return { promise, resolve: () => ends.resolve?.(), reject: (error) => ends.reject?.(error) };
}

async function within<T>(promise: Promise<T>, timeoutMs: number, state: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: ${state()}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the type of the protocol error with which a call rejects, unwrapped from kafkajs' errors. */
export async function errorType(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    return typeOf(error);
  }
  return 'NONE';
}

function typeOf(error: unknown): string {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every field is looked at before it is used
  const { type, cause, errors, groups, name } = error as {
    type?: string;
    cause?: unknown;
    errors?: unknown[];
    groups?: { error: unknown }[];
    name?: string;
  };
  if (type) return type;
  if (cause) return typeOf(cause);
  if (errors?.[0]) return typeOf(errors[0]);
  if (groups?.[0]) return typeOf(groups[0].error);
  return name ?? 'UNKNOWN';
}

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { MillraceError } from '../../platform/errors.js';
import { silentLogger } from '../../platform/logger.js';
import type { Logger } from '../../platform/logger.js';
import { apis } from './apis/index.js';
import { systemClock } from './clock.js';
import type { Clock } from './clock.js';
import { deferred } from './deferred.js';
import { GroupCoordinator } from './groups/group-coordinator.js';
import { Offsets } from './groups/offsets.js';
import { LocalLog } from './local-log.js';
import { Connection } from './network/connection.js';
import type { ConnectionEnvironment, ConnectionLimits } from './network/connection.js';
import { Dispatcher } from './network/dispatcher.js';
import { Interceptors } from './network/interceptors.js';
import type { Interceptor } from './network/interceptors.js';
import { MemoryBudget } from './network/memory-budget.js';
import { listen } from './network/server.js';
import type { TlsCertificate } from './network/server.js';
import { saslMechanisms } from './security/authentication.js';
import type { Sasl, SaslMechanism } from './security/authentication.js';
import { Users } from './security/users.js';
import type { Services } from './services.js';
import { maintain } from './storage/maintenance.js';
import { StateStore } from './storage/state-store.js';
import { TailCacheBudget } from './storage/tail-cache.js';
import { Topics } from './storage/topics.js';
import { ProducerIds } from './transactions/producer-ids.js';
import { TransactionCoordinator } from './transactions/transaction-coordinator.js';
import { transactionLogs } from './transactions/transaction-logs.js';

export interface SaslOptions {
  /** Passwords by user name. */
  users: Record<string, string>;
  /** Default: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512. */
  mechanisms?: SaslMechanism[];
}

export interface KafkaBrokerOptions extends Partial<ConnectionLimits> {
  /** Folder for all data; created when missing. One broker at a time per folder. */
  dataDir: string;
  /** Address to listen on. Default 127.0.0.1. */
  host?: string;
  /** 0 takes a free port. Default 9092. */
  port?: number;
  /** Name of the setting for `port`, for the error `PORT_IN_USE`. Default `port`. */
  portSetting?: string;
  /** Clients must log in as one of these users, by one of these mechanisms. Default: no login. */
  sasl?: SaslOptions;
  /** Clients must use TLS. Default: plain connections. */
  tls?: TlsCertificate;
  /** Default: writes nothing. */
  logger?: Logger;
  /** Partitions of a topic that is created without a number. Default 1. */
  defaultPartitions?: number;
  /** Create topics that a client names for the first time. Default true. */
  autoCreateTopics?: boolean;
  /** Connections beyond this are refused. Default 1000. */
  maxConnections?: number;
  /**
   * Maximum bytes of the newest batches of all partitions, kept in memory for consumers that keep up. Default
   * 4 MiB.
   */
  tailCacheBytes?: number;
  /** Maximum of record bytes in one Fetch answer. Default 8 MiB. */
  maxFetchBytes?: number;
  /** Maximum bytes of requests in flight on all connections; beyond, sockets are not read. Default 64 MiB. */
  maxRequestBytes?: number;
  /**
   * Bytes of unread answers from which on answers get smaller and stalled readers are closed. Default 64 MiB.
   */
  maxAnswerBytes?: number;
  /** Interval of retention and compaction, in milliseconds. Default 5 minutes, as in Kafka. */
  maintenanceIntervalMs?: number;
  /** Default: the system's time. */
  clock?: Clock;
}

/** Interval of the check for stalled connections. */
const stallCheckMs = 1000;

const mebibyte = 1024 * 1024;
const defaults = {
  host: '127.0.0.1',
  port: 9092,
  portSetting: 'port',
  logger: silentLogger,
  defaultPartitions: 1,
  autoCreateTopics: true,
  maxConnections: 1000,
  tailCacheBytes: 4 * mebibyte,
  maxFetchBytes: 8 * mebibyte,
  maxFrameBytes: 32 * mebibyte,
  maxInFlight: 16,
  maxRequestBytes: 64 * mebibyte,
  maxAnswerBytes: 64 * mebibyte,
  idleTimeoutMs: 10 * 60_000,
  stallTimeoutMs: 30_000,
  maintenanceIntervalMs: 5 * 60_000,
  clock: systemClock,
};

/**
 * A durable single-node Kafka broker in the current thread. See embedded/README.md for the supported APIs.
 */
export class KafkaBroker {
  readonly #options: typeof defaults & KafkaBrokerOptions;
  readonly #interceptors = new Interceptors();
  readonly #connections = new Set<Connection>();
  readonly #ready = deferred<ConnectionEnvironment>();
  #server: Server | undefined;
  #store: StateStore | undefined;
  #services: Services | undefined;
  #cancelMaintenance: () => void = () => undefined;
  #cancelStallCheck: () => void = () => undefined;
  #maintenance: Promise<void> = Promise.resolve();

  constructor(options: KafkaBrokerOptions) {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#options = { ...defaults, dataDir: options.dataDir, ...given };
  }

  /**
   * Listens, then recovers the data on disk; requests that arrive meanwhile wait.
   *
   * A stopped broker can't be started again: create a new one.
   *
   * @throws MillraceError `PORT_IN_USE` or `LISTEN_FAILED`, before anything on disk is changed, or
   *   `DATA_DIR_UNUSABLE`.
   */
  async start(): Promise<{ port: number }> {
    const { server, port } = await listen(this.#options, (socket) => {
      void this.#accept(socket);
    });
    this.#server = server;
    try {
      this.#services = await this.#openServices();
      this.#ready.resolve(this.#connectionEnvironment(this.#services));
      this.#scheduleStallCheck();
      this.#scheduleMaintenance();
    } catch (error) {
      this.#ready.reject(error);
      await this.stop();
      throw this.#explain(error);
    }
    return { port };
  }

  /** Closes all connections and waits until all accepted data is on disk. */
  async stop(): Promise<void> {
    this.#cancelMaintenance();
    this.#cancelStallCheck();
    const server = this.#server;
    const services = this.#services;
    const store = this.#store;
    this.#server = this.#services = this.#store = undefined;
    for (const connection of this.#connections) connection.close();
    if (server !== undefined) {
      server.close();
      await once(server, 'close');
    }
    await this.#maintenance;
    services?.groups.stop();
    await services?.transactions.stop();
    await services?.topics.close();
    await store?.close();
  }

  /** Adds an interceptor, see {@link Interceptors}. Returns the function that removes it. */
  intercept(apiKey: number, interceptor: Interceptor): () => void {
    return this.#interceptors.add(apiKey, interceptor);
  }

  /** Opens a compacted topic with one partition, without a client; the topic is created when missing. */
  localLog(topic: string): LocalLog {
    if (this.#services === undefined) throw new Error('The broker is not running.');
    return new LocalLog(this.#services, topic);
  }

  // Listening comes first, so that a port in use is noticed before anything on disk is changed.
  async #accept(socket: Socket): Promise<void> {
    socket.on('error', () => socket.destroy());
    const environment = await this.#ready.promise.catch(() => undefined);
    if (environment === undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, environment);
    this.#connections.add(connection);
    socket.on('close', () => this.#connections.delete(connection));
  }

  #connectionEnvironment(services: Services): ConnectionEnvironment {
    const { sasl, clock, logger, maxRequestBytes } = this.#options;
    return {
      dispatcher: new Dispatcher(services, apis, this.#interceptors),
      limits: this.#options,
      sasl: sasl === undefined ? undefined : toSasl(sasl),
      requestMemory: new MemoryBudget(maxRequestBytes),
      answerMemory: services.answerMemory,
      clock,
      logger,
    };
  }

  #scheduleStallCheck(): void {
    const { clock } = this.#options;
    this.#cancelStallCheck = clock.after(stallCheckMs, () => {
      for (const connection of this.#connections) connection.closeIfStalled(clock.now());
      this.#scheduleStallCheck();
    });
  }

  async #openServices(): Promise<Services> {
    const { dataDir, logger, clock, tailCacheBytes } = this.#options;
    const store = await StateStore.open(join(dataDir, 'state.log'), logger);
    this.#store = store;
    const cacheBudget = new TailCacheBudget(tailCacheBytes);
    const topics = await Topics.open(dataDir, store, { logger, clock, cacheBudget });
    const offsets = new Offsets(store);
    const transactions = new TransactionCoordinator({
      store,
      offsets,
      producerIds: new ProducerIds(store, topics.highestProducerId()),
      logs: transactionLogs(topics),
      clock,
      logger,
    });
    await transactions.recover();
    return {
      clusterId: await clusterId(store),
      dataDir,
      logger,
      clock,
      topics,
      groups: new GroupCoordinator(offsets, clock),
      transactions,
      served: apis,
      defaultPartitions: this.#options.defaultPartitions,
      autoCreateTopics: this.#options.autoCreateTopics,
      maxFetchBytes: this.#options.maxFetchBytes,
      answerMemory: new MemoryBudget(this.#options.maxAnswerBytes),
    };
  }

  #explain(error: unknown): unknown {
    if (!(error instanceof Error && 'errno' in error)) return error;
    const { dataDir } = this.#options;
    return new MillraceError(
      'DATA_DIR_UNUSABLE',
      `The Kafka broker cannot keep its data in ${dataDir} (${error.message}): make it a folder this user can write to, or choose another.`,
      { cause: error },
    );
  }

  #scheduleMaintenance(): void {
    this.#cancelMaintenance = this.#options.clock.after(this.#options.maintenanceIntervalMs, () => {
      this.#maintenance = this.#runMaintenance();
    });
  }

  async #runMaintenance(): Promise<void> {
    if (this.#services === undefined) return;
    try {
      await maintain(this.#services);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'Retention and compaction failed; they are tried again');
    }
    if (this.#services !== undefined) this.#scheduleMaintenance();
  }
}

function toSasl({ users, mechanisms = [...saslMechanisms] }: SaslOptions): Sasl {
  return { users: new Users(users), mechanisms };
}

async function clusterId(store: StateStore): Promise<string> {
  const [saved] = [...store.entries<string>('cluster-id')];
  if (saved !== undefined) return saved.value;
  const id = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url');
  await store.put([{ key: ['cluster-id', ''], value: id }]);
  return id;
}

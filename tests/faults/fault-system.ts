import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { vi } from 'vitest';
import { RedisServer } from '../../platform/testing/redis-server.js';
import { ApacheKafka } from '../system/engines/apache-kafka.js';
import { freePorts, killPrograms, type Program, startProgram, whenReady } from '../system/programs.js';
import { TcpProxy } from '../system/tcp-proxy.js';
import { Member } from './member.js';
import { type Engine, type MemberName, members, sessionTimeoutMs } from './plan.js';
import { RegistryProxy } from './registry-proxy.js';

/**
 * Millrace as in production, each role in several processes, on Apache Kafka, Redis, a schema registry and
 * ClickHouse (the embedded engines for the last two). Each process reaches each engine through its own proxy.
 */
export class FaultSystem {
  /** Of each topic. */
  static readonly partitions = 6;
  readonly kafka: ApacheKafka;
  readonly redis: RedisServer;
  readonly registry: RegistryProxy;
  readonly members: readonly Member[];
  /** Addresses of the engines for the checks, without proxies. */
  readonly direct: { kafka: string[]; schema_registry: string; clickhouse: string };
  readonly #lives: { name: string; program: Program }[] = [];
  readonly #startClickHouse: () => Program;
  #clickHouse: Program;

  private constructor(parts: {
    kafka: ApacheKafka;
    redis: RedisServer;
    registry: RegistryProxy;
    members: Member[];
    direct: FaultSystem['direct'];
    registryProgram: Program;
    startClickHouse: () => Program;
  }) {
    this.kafka = parts.kafka;
    this.redis = parts.redis;
    this.registry = parts.registry;
    this.members = parts.members;
    this.direct = parts.direct;
    this.#startClickHouse = parts.startClickHouse;
    this.#clickHouse = parts.startClickHouse();
    this.#lives.push({ name: 'registry', program: parts.registryProgram });
    this.#lives.push({ name: 'clickhouse.1', program: this.#clickHouse });
  }

  /**
   * Resolves when every process is ready.
   *
   * @param folder - for the data of the engines that run as our processes.
   */
  static async start(folder: string): Promise<FaultSystem> {
    const ports = await freePorts('registry', 'registryLog', 'seenRegistry', 'clickhouse');
    const ofMembers = await Promise.all(
      members.map(async (name) => ({
        name,
        ...(await freePorts('http', 'listener', 'kafka', 'clickhouse', 'redis')),
      })),
    );
    const proxied = ofMembers.map(({ listener, kafka }) => ({ port: listener, advertised: kafka }));
    const [kafka, redis] = await Promise.all([ApacheKafka.start({ proxied }), RedisServer.start()]);
    const direct = {
      kafka: kafka.brokers,
      schema_registry: `http://127.0.0.1:${ports.registry}`,
      clickhouse: `http://127.0.0.1:${ports.clickhouse}`,
    };
    const system = new FaultSystem({
      kafka,
      redis,
      direct,
      registry: await RegistryProxy.start({ port: ports.seenRegistry, target: ports.registry }),
      registryProgram: startProgram('tests/system/engines/log.js', [], {
        DATA_DIR: join(folder, 'registry'),
        KAFKA_PORT: String(ports.registryLog),
        SCHEMA_REGISTRY_PORT: String(ports.registry),
      }),
      startClickHouse: () =>
        startProgram('tests/system/engines/clickhouse.js', [], {
          DATA_DIR: join(folder, 'clickhouse'),
          CLICKHOUSE_PORT: String(ports.clickhouse),
        }),
      members: ofMembers.map((of) => {
        const proxies: Record<Engine, TcpProxy> = {
          kafka: new TcpProxy({ port: of.kafka, target: of.listener }),
          clickhouse: new TcpProxy({ port: of.clickhouse, target: ports.clickhouse }),
          redis: new TcpProxy({ port: of.redis, target: redis.port }),
        };
        const settings = {
          KAFKA_BROKERS: `127.0.0.1:${of.kafka}`,
          SCHEMA_REGISTRY_URL: `http://127.0.0.1:${ports.seenRegistry}`,
          CLICKHOUSE_URL: `http://127.0.0.1:${of.clickhouse}`,
          REDIS_URL: `redis://127.0.0.1:${of.redis}`,
          DATA_DIR: join(folder, 'millrace'),
          KAFKA_SESSION_TIMEOUT_MS: String(sessionTimeoutMs),
          REQUEST_TIMEOUT_MS: '5000',
          NODE_OPTIONS: '--trace-warnings',
          TOPIC_PARTITIONS: String(FaultSystem.partitions),
        };
        return new Member(of.name, { port: of.http, proxies, settings });
      }),
    });
    try {
      await system.#begin();
    } catch (error) {
      await system.stop();
      throw error;
    }
    return system;
  }

  async #begin(): Promise<void> {
    const { schema_registry, clickhouse } = this.direct;
    for (const url of [`${schema_registry}/subjects`, `${clickhouse}/ping`])
      await vi.waitFor(() => fetch(url), { timeout: 30_000, interval: 50 });
    for (const { proxies } of this.members) for (const proxy of Object.values(proxies)) await proxy.open();
    for (const member of this.members) member.start();
    await this.whenReady();
  }

  member(name: MemberName): Member {
    const member = this.members.find((each) => each.name === name);
    if (member === undefined) throw new Error(`there is no ${name}`);
    return member;
  }

  async whenReady(): Promise<void> {
    await Promise.all(this.members.map(({ program, http }) => whenReady(program, http, 180_000)));
  }

  async killEngine(engine: Engine): Promise<void> {
    await { kafka: this.kafka, redis: this.redis, clickhouse: this.#clickHouse }[engine].kill();
  }

  async startEngine(engine: Engine): Promise<void> {
    if (engine === 'kafka') return this.kafka.restart();
    if (engine === 'redis') return this.redis.begin();
    this.#clickHouse = this.#startClickHouse();
    const life = this.#lives.filter(({ name }) => name.startsWith('clickhouse')).length + 1;
    this.#lives.push({ name: `clickhouse.${life}`, program: this.#clickHouse });
  }

  async pauseEngine(engine: Engine): Promise<void> {
    if (engine === 'kafka') this.kafka.pause();
    else if (engine === 'redis') await this.redis.hang();
    else this.#clickHouse.signal('SIGSTOP');
  }

  async resumeEngine(engine: Engine): Promise<void> {
    if (engine === 'kafka') this.kafka.resume();
    else if (engine === 'redis') await this.redis.goOn();
    else this.#clickHouse.signal('SIGCONT');
  }

  /** The output of each process, by its name and life. */
  logs(): Map<string, string> {
    const lives = [...this.members.flatMap((member) => member.lives), ...this.#lives];
    return new Map([
      ...lives.map(({ name, program }) => [name, program.output()] as const),
      ['kafka', this.kafka.output()] as const,
    ]);
  }

  async keepLogs(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    await Promise.all([...this.logs()].map(([name, text]) => writeFile(join(folder, `${name}.log`), text)));
  }

  /** Stops everything at once. */
  async stop(): Promise<void> {
    await killPrograms();
    await Promise.all(
      this.members.flatMap(({ proxies }) => Object.values(proxies).map((proxy) => proxy.close())),
    );
    await Promise.all([this.kafka.stop(), this.redis.remove(), this.registry.stop()]);
  }
}

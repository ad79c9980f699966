import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe } from 'vitest';
import { packageRoot } from '../../../platform/paths.js';
import { freePorts } from '../programs.js';

const startTimeoutMs = 90_000;

/** Folder of Apache Kafka's jars, once `scripts/apache-kafka-jars.mjs` has fetched them. */
export const apacheKafkaJars = jarsFolder();

/** Declares tests that need Apache Kafka. Without it they are skipped, and their heading says so. */
export function describeApacheKafka(name: string, tests: () => void): void {
  const reason = apacheKafkaJars
    ? ''
    : ' NEEDS APACHE KAFKA, WHICH IS NOT HERE (node scripts/apache-kafka-jars.mjs)';
  describe.skipIf(apacheKafkaJars === undefined)(`${name}${reason}`, () => {
    tests();
  });
}

export interface ApacheKafkaOptions {
  /** Lines of `server.properties` that extend or replace those of every test broker. */
  settings?: Record<string, string | number>;
  /** Options for formatting its storage, such as SCRAM users. */
  formatOptions?: readonly string[];
  /** A listener `SASL_SSL` on this port of localhost, beside the plain one; `settings` has the details. */
  securePort?: number;
  /** Further listeners, each advertising another port to clients: that of a proxy in front of it. */
  proxied?: readonly ProxiedListener[];
  /**
   * Id of a broker of a cluster; the one with the id 1 is its controller too. Default: a separate cluster.
   */
  member?: { id: number; controller: number; clusterId: string };
  /**
   * Options of the JVM. Default: those with the fastest start, which are not those with the highest speed
   * later.
   */
  jvmOptions?: readonly string[];
}

export interface ProxiedListener {
  /** Where the broker listens. */
  port: number;
  /** The address that this listener advertises. */
  advertised: number;
}

type Ports = Record<'broker' | 'controller', number>;

/** Simple compiler and collector, and classes archived by an earlier start: a third of the time to start. */
const quickStart = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xmx384m'];

/**
 * A dedicated Apache Kafka: one process that is broker and controller (KRaft), on loopback, with free ports
 * and temporary data. It can be killed, halted and restarted on the same data and ports; `stop` leaves
 * nothing behind.
 */
export class ApacheKafka {
  /** For `KAFKA_BROKERS`. */
  readonly brokers: string[];
  readonly #folder: string;
  readonly #port: number;
  readonly #jvmOptions: readonly string[];
  #server: ChildProcess | undefined;

  private constructor(folder: string, port: number, jvmOptions: readonly string[]) {
    this.#folder = folder;
    this.#jvmOptions = jvmOptions;
    this.#port = port;
    this.brokers = [`127.0.0.1:${port}`];
    process.once('exit', this.#killNow);
  }

  /** Resolves when it serves clients. */
  static async start({
    settings = {},
    formatOptions = [],
    securePort,
    proxied = [],
    member,
    jvmOptions,
  }: ApacheKafkaOptions = {}): Promise<ApacheKafka> {
    const jvm = jvmOptions ?? [...quickStart, `-XX:SharedArchiveFile=${await classesArchive()}`];
    const folder = await mkdtemp(join(tmpdir(), 'millrace-apache-kafka-'));
    const free = await freePorts('broker', 'controller');
    const ports = { ...free, controller: member?.controller ?? free.controller };
    const kafka = new ApacheKafka(folder, ports.broker, jvm);
    try {
      const properties: Record<string, string | number> = {
        ...defaults(folder),
        ...listeners(ports, proxied, securePort),
        ...settings,
      };
      if (member !== undefined) joinCluster(properties, member.id);
      await writeFile(kafka.#settingsFile, toLines(properties));
      await kafka.#format(formatOptions, member?.clusterId);
      await kafka.restart();
    } catch (error) {
      await kafka.stop();
      throw error;
    }
    return kafka;
  }

  /** Of the current server, or of the last one. */
  get pid(): number {
    return this.#server?.pid ?? 0;
  }

  /** Starts it on the existing data; stops a running one in order first. */
  async restart(): Promise<void> {
    await this.shutDown();
    this.#server = await this.#java('kafka.Kafka', this.#settingsFile);
    const deadline = Date.now() + startTimeoutMs;
    while (!(await this.#answers())) {
      if (hasEnded(this.#server) || Date.now() > deadline)
        throw new Error(`Apache Kafka did not start. Its output ends with:\n${this.output().slice(-3_000)}`);
      await sleep(50);
    }
  }

  /** Kills it with SIGKILL. The part of its log that the kernel has survives, as with any killed process. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Stops it in order; `restart` starts it again. */
  shutDown(): Promise<void> {
    return this.#end('SIGTERM');
  }

  /** Halts it: connections stay, answers don't come. */
  pause(): void {
    this.#server?.kill('SIGSTOP');
  }

  resume(): void {
    this.#server?.kill('SIGCONT');
  }

  /** Stops it for good and removes all its files. */
  async stop(): Promise<void> {
    await this.#end('SIGKILL');
    process.off('exit', this.#killNow);
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Resolves with the exit status when it exits unexpectedly. */
  async ended(): Promise<string> {
    const server = this.#server;
    if (server !== undefined && !hasEnded(server)) await once(server, 'exit');
    return `Apache Kafka ended (${server?.exitCode ?? server?.signalCode}). Its output ends with:\n${this.output().slice(-3_000)}`;
  }

  /** Its output: warnings and errors. */
  output(): string {
    return readFileSync(join(this.#folder, 'server.log'), 'utf8');
  }

  get #settingsFile(): string {
    return join(this.#folder, 'server.properties');
  }

  readonly #killNow = (): void => {
    this.#server?.kill('SIGKILL');
  };

  async #format(
    options: readonly string[],
    clusterId = randomBytes(16).toString('base64url'),
  ): Promise<void> {
    const tool = await this.#java(
      'kafka.tools.StorageTool',
      'format',
      // One argument, since an id may begin with a dash.
      `--cluster-id=${clusterId}`,
      '-c',
      this.#settingsFile,
      ...options,
    );
    if (!hasEnded(tool)) await once(tool, 'exit');
    if (tool.exitCode !== 0) throw new Error(`Formatting Apache Kafka's storage failed:\n${this.output()}`);
  }

  async #java(...command: string[]): Promise<ChildProcess> {
    if (apacheKafkaJars === undefined)
      throw new Error('Apache Kafka is not here: get it with `node scripts/apache-kafka-jars.mjs`.');
    const log = await open(join(this.#folder, 'server.log'), 'a');
    const java = spawn(
      'java',
      [
        ...this.#jvmOptions,
        '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
        // Logs the transaction markers that it gives up, to explain lost or doubled records.
        '-Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction.TransactionMarkerChannelManager=info',
        '-cp',
        join(apacheKafkaJars, '*'),
        ...command,
      ],
      // Ctrl-C shall reach it through `stop` only.
      { stdio: ['ignore', log.fd, log.fd], detached: true },
    );
    await log.close();
    return java;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#server;
    if (server === undefined || hasEnded(server)) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    const hardStop = setTimeout(() => server.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(hardStop);
  }

  /** Whether an ApiVersions request is answered, which a broker does once it serves clients. */
  #answers(): Promise<boolean> {
    // Size, api key 18, version 0, correlation id 1, null client id.
    const request = Buffer.from('0000000a0012000000000001ffff', 'hex');
    return new Promise((resolve) => {
      const socket = connect(this.#port, '127.0.0.1', () => socket.write(request));
      socket.setTimeout(2_000, () => socket.destroy());
      socket.once('data', () => {
        resolve(true);
        socket.destroy();
      });
      socket.once('error', () => resolve(false));
      socket.once('close', () => resolve(false));
    });
  }
}

/**
 * Makes the archive of loaded classes (JVM's AppCDS) beside the jars, if it is missing. @returns its path.
 */
async function classesArchive(): Promise<string> {
  const archive = `${apacheKafkaJars}.jsa`;
  if (existsSync(archive)) return archive;
  const unfinished = `${archive}.${process.pid}`;
  const kafka = await ApacheKafka.start({
    jvmOptions: [...quickStart, `-XX:ArchiveClassesAtExit=${unfinished}`],
  });
  await kafka.shutDown();
  await kafka.stop();
  await rename(unfinished, archive);
  return archive;
}

function jarsFolder(): string | undefined {
  const script = join(packageRoot, 'scripts', 'apache-kafka-jars.mjs');
  const { status, stdout } = spawnSync(process.execPath, [script, '--cached'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

function defaults(folder: string): Record<string, string | number> {
  return {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'log.dirs': join(folder, 'log'),
    'num.partitions': 1,
    'auto.create.topics.enable': 'true',
    'group.initial.rebalance.delay.ms': 0,
    'default.replication.factor': 1,
    'min.insync.replicas': 1,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    // A killed broker can rejoin when its session has ended.
    'broker.session.timeout.ms': 3_000,
    'broker.heartbeat.interval.ms': 500,
  };
}

function listeners(
  { broker, controller }: Ports,
  proxied: readonly ProxiedListener[],
  securePort: number | undefined,
): Record<string, string> {
  const plain = [{ port: broker, advertised: broker }, ...proxied].map(({ port, advertised }, index) => ({
    name: index === 0 ? 'PLAINTEXT' : `PROXY${index}`,
    protocol: 'PLAINTEXT',
    port,
    advertised: `127.0.0.1:${advertised}`,
  }));
  const secure = { name: 'SASL_SSL', protocol: 'SASL_SSL' };
  const all =
    securePort === undefined
      ? plain
      : [...plain, { ...secure, port: securePort, advertised: `localhost:${securePort}` }];
  const list = (part: (listener: (typeof all)[number]) => string, ...controllers: string[]): string =>
    [...all.map(part), ...controllers].join(',');
  return {
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: list(
      ({ name, port }) => `${name}://127.0.0.1:${port}`,
      `CONTROLLER://127.0.0.1:${controller}`,
    ),
    'advertised.listeners': list(({ name, advertised }) => `${name}://${advertised}`),
    'listener.security.protocol.map': list(
      ({ name, protocol }) => `${name}:${protocol}`,
      'CONTROLLER:PLAINTEXT',
    ),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
  };
}

/** All brokers of a cluster but the first are brokers only. */
function joinCluster(properties: Record<string, string | number>, id: number): void {
  properties['node.id'] = id;
  if (id === 1) return;
  properties['process.roles'] = 'broker';
  properties['listeners'] = String(properties['listeners']).replace(/,CONTROLLER:.*$/, '');
}

function toLines(properties: Record<string, string | number>): string {
  return Object.entries(properties)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

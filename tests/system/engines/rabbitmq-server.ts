import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe } from 'vitest';
import { freePorts } from '../programs.js';
import { type Container, startContainer } from './containers.js';
import { testEngines } from './chosen.js';

// Not the one on the PATH: Debian's is a wrapper that switches to the user `rabbitmq` and ignores the
// environment.
const serverProgram = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const epmdProgram = ['/usr/bin/epmd', '/usr/local/bin/epmd'].find(existsSync) ?? 'epmd';
const startTimeoutMs = 60_000;

/** Whether RabbitMQ is installed as by Debian's package `rabbitmq-server`. */
export const rabbitMqInstalled = existsSync(serverProgram);

/** Declares tests that need RabbitMQ. Without it they are skipped, and their heading says so. */
export function describeRabbitMq(name: string, tests: () => void): void {
  const isHere = rabbitMqInstalled || testEngines === 'containers';
  const reason = isHere ? '' : ' NEEDS RABBITMQ, WHICH IS NOT INSTALLED (apt-get install rabbitmq-server)';
  describe.skipIf(!isHere)(`${name}${reason}`, () => {
    tests();
  });
}

/** The part of the management API's data about a queue that tests use. */
export interface QueueState {
  name: string;
  durable: boolean;
  auto_delete: boolean;
  arguments: Record<string, unknown>;
  messages: number;
  messages_ready: number;
  messages_unacknowledged: number;
}

/**
 * A dedicated RabbitMQ server: unique node name, ports, cookie and data, everything on loopback only; `stop`
 * leaves nothing behind. It can be killed and restarted on the same data and ports.
 */
export class RabbitMq {
  /** For `RABBITMQ_URL`. */
  readonly url: string;
  /** Base address of the management API, with user and password. */
  readonly managementUrl: string;
  readonly #folder: string;
  readonly #ports: Ports;
  readonly #epmd: ChildProcess | undefined;
  #server: ChildProcess | undefined;
  /** Instead of a local process, with `MILLRACE_TEST_ENGINES=containers`. */
  #container: Container | undefined;

  private constructor(folder: string, ports: Ports, epmd?: ChildProcess) {
    this.#folder = folder;
    this.#ports = ports;
    this.#epmd = epmd;
    this.url = `amqp://guest:guest@127.0.0.1:${ports.amqp}`;
    this.managementUrl = `http://guest:guest@127.0.0.1:${ports.management}`;
    process.once('exit', this.#killAll);
  }

  /**
   * Resolves when it serves clients and its management API answers.
   *
   * @param settings - lines of `rabbitmq.conf` beyond those of every test server.
   * @param usual - ports for clients and the management API; free ones by default.
   */
  static async start(
    usual: Partial<Pick<Ports, 'amqp' | 'management'>> = {},
    settings: Record<string, string | number> = {},
  ): Promise<RabbitMq> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-rabbitmq-'));
    const ports = { ...(await freePorts('amqp', 'management', 'distribution', 'epmd')), ...usual };
    if (testEngines === 'containers') return new RabbitMq(folder, ports).#contained();
    await Promise.all(['home', 'data', 'log'].map((name) => mkdir(join(folder, name))));
    await writeFile(join(folder, 'enabled_plugins'), '[rabbitmq_management].\n');
    await writeFile(join(folder, 'rabbitmq.conf'), configuration(ports, settings));
    // In the foreground and before the server, which would start one that outlives it.
    const epmd = spawn(epmdProgram, ['-address', '127.0.0.1', '-port', String(ports.epmd)], {
      stdio: 'ignore',
      detached: true,
    });
    const rabbitMq = new RabbitMq(folder, ports, epmd);
    try {
      await rabbitMq.restart();
    } catch (error) {
      await rabbitMq.stop();
      throw error;
    }
    return rabbitMq;
  }

  /** Starts it on the existing data; stops a running one first. */
  async restart(): Promise<void> {
    if (this.#container !== undefined) return this.#container.restart();
    await this.#end('SIGTERM');
    const log = await open(join(this.#folder, 'output.log'), 'a');
    // Erlang allocates memory for the maximum number of open files: a limit of a billion would cost
    // gigabytes.
    const limited = 'ulimit -n 4096; exec "$0" -noinput';
    this.#server = spawn('sh', ['-c', limited, serverProgram], {
      stdio: ['ignore', log.fd, log.fd],
      // Ctrl-C shall reach it through `stop` only.
      detached: true,
      env: this.#environment(),
    });
    await log.close();
    const deadline = Date.now() + startTimeoutMs;
    while (!((await this.#greets()) && (await this.#manages()))) {
      if (hasEnded(this.#server) || Date.now() > deadline)
        throw new Error(`RabbitMQ did not start. Its output ends with:\n${this.output().slice(-3_000)}`);
      await sleep(50);
    }
  }

  /** Kills it with SIGKILL, as a power loss would. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Stops it in order; `restart` starts it again. */
  shutDown(): Promise<void> {
    return this.#end('SIGTERM');
  }

  /** Stops it for good and removes all its files. */
  async stop(): Promise<void> {
    // An orderly stop takes 5 s, to save data that is removed next.
    await this.#end('SIGKILL');
    await this.#container?.stop();
    const epmd = this.#epmd;
    const ended = epmd === undefined || hasEnded(epmd) ? undefined : once(epmd, 'exit');
    epmd?.kill('SIGKILL');
    await ended;
    process.off('exit', this.#killAll);
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** The server's output. */
  output(): string {
    return readFileSync(join(this.#folder, 'output.log'), 'utf8');
  }

  /** The server's log: warnings and errors, among them channels closed with PRECONDITION_FAILED. */
  async log(): Promise<string> {
    if (this.#container !== undefined) return this.#container.output();
    return readFileSync(join(this.#folder, 'log', 'server.log'), 'utf8');
  }

  /** Requests a path under `/api/` from the management API. */
  async manage<Answer>(path: string, init: RequestInit = {}): Promise<Answer> {
    const { origin, username, password } = new URL(this.managementUrl);
    const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    const response = await fetch(`${origin}/api/${path}`, {
      ...init,
      headers: { authorization, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(5_000),
    });
    if (!response.ok) throw new Error(`RabbitMQ's ${path} answered ${response.status}.`);
    return (response.status === 200 ? await response.json() : undefined) as Answer;
  }

  /**
   * State of a queue of the default virtual host, with current numbers: those of the queue's own path are up
   * to 5 s old.
   */
  async queue(name: string): Promise<QueueState> {
    const path = 'queues/%2F?disable_stats=true&enable_queue_totals=true';
    const queue = (await this.manage<QueueState[]>(path)).find((each) => each.name === name);
    if (queue === undefined) throw new Error(`RabbitMQ has no queue ${name}.`);
    return queue;
  }

  readonly #killAll = (): void => {
    this.#server?.kill('SIGKILL');
    this.#epmd?.kill('SIGKILL');
  };

  async #contained(): Promise<RabbitMq> {
    const { amqp, management } = this.#ports;
    this.#container = await startContainer({
      image: 'rabbitMq',
      ports: { 5672: amqp, 15672: management },
      files: {
        '/etc/rabbitmq/conf.d/20-millrace.conf': 'loopback_users = none\ncollect_statistics_interval = 500\n',
      },
      check: async () => {
        if (!((await this.#greets()) && (await this.#manages())))
          throw new Error('RabbitMQ does not answer.');
      },
    });
    return this;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const container = this.#container;
    if (container !== undefined) return signal === 'SIGKILL' ? container.kill() : container.shutDown();
    const server = this.#server;
    if (server === undefined || hasEnded(server)) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    const hardStop = setTimeout(() => server.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(hardStop);
  }

  /** Whether it answers the protocol header, which it does once it serves clients. */
  #greets(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.#ports.amqp, '127.0.0.1', () => socket.write('AMQP\0\0\u0009\u0001'));
      socket.setTimeout(2_000, () => socket.destroy());
      socket.once('data', () => {
        resolve(true);
        socket.destroy();
      });
      socket.once('error', () => resolve(false));
      socket.once('close', () => resolve(false));
    });
  }

  #manages(): Promise<boolean> {
    return this.manage('overview').then(
      () => true,
      () => false,
    );
  }

  #environment(): NodeJS.ProcessEnv {
    const { amqp, distribution, epmd } = this.#ports;
    const inFolder = (name: string): string => join(this.#folder, name);
    return {
      PATH: process.env['PATH'],
      LANG: 'C.UTF-8',
      // The Erlang cookie is created there.
      HOME: inFolder('home'),
      RABBITMQ_CONF_ENV_FILE: inFolder('none'),
      RABBITMQ_CONFIG_FILE: inFolder('rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: inFolder('enabled_plugins'),
      RABBITMQ_BASE: this.#folder,
      RABBITMQ_MNESIA_BASE: inFolder('data'),
      RABBITMQ_LOG_BASE: inFolder('log'),
      RABBITMQ_LOGS: inFolder(join('log', 'server.log')),
      RABBITMQ_PID_FILE: inFolder('pid'),
      RABBITMQ_NODENAME: `millrace-${amqp}@localhost`,
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false',
      ERL_EPMD_ADDRESS: '127.0.0.1',
      ERL_EPMD_PORT: String(epmd),
      // Makes the script exec the server instead of staying its parent, so that signals reach the server.
      RABBITMQ_ALLOW_INPUT: '1',
    };
  }
}

type Ports = Record<'amqp' | 'management' | 'distribution' | 'epmd', number>;

function configuration({ amqp, management }: Ports, more: Record<string, string | number>): string {
  const settings = {
    'listeners.tcp.1': `127.0.0.1:${amqp}`,
    'management.tcp.ip': '127.0.0.1',
    'management.tcp.port': management,
    'log.file.level': 'warning',
    collect_statistics_interval: 500,
    'disk_free_limit.absolute': '50MB',
    ...more,
  };
  return Object.entries(settings)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('');
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

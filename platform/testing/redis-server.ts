import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { type Container, startContainer } from '../../tests/system/engines/containers.js';
import { freePorts } from '../../tests/system/programs.js';
import { testEngines } from '../../tests/system/engines/chosen.js';

const installed = spawnSync('redis-server', ['--version']).status === 0;

/** Declares tests that need a Redis server. Without one they are skipped, and their heading says so. */
export function describeWithRedis(name: string, tests: () => void): void {
  const isHere = installed || testEngines === 'containers';
  const reason = isHere
    ? ''
    : ' (SKIPPED: redis-server IS NOT INSTALLED, get it with apt-get install redis-server)';
  describe.skipIf(!isHere)(`${name}${reason}`, () => {
    tests();
  });
}

/** A Redis server on its own port, with nothing on disk. */
export class RedisServer {
  readonly port: number;
  readonly #folder: string;
  readonly #settings: readonly string[];
  #process: ChildProcess | undefined;
  /** Instead of a process, with `MILLRACE_TEST_ENGINES=containers`. */
  #container: Container | undefined;

  private constructor(port: number, folder: string, settings: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#settings = settings;
  }

  /** @param settings - as on its command line, such as `--requirepass secret`. */
  static async start(...settings: string[]): Promise<RedisServer> {
    const server = new RedisServer(
      (await freePorts('redis')).redis,
      await mkdtemp(join(tmpdir(), 'millrace-redis-')),
      settings,
    );
    await server.begin();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, empty, on its port. Resolves when it accepts connections. */
  async begin(): Promise<void> {
    // Settings refer to files of this machine.
    if (testEngines === 'containers' && this.#settings.length === 0) {
      if (this.#container === undefined) this.#container = await this.#contained();
      else await this.#container.restart();
      return;
    }
    const port = this.#settings.includes('--tls-port') ? [] : ['--port', String(this.port)];
    const settings = [...port, '--bind', '127.0.0.1', '--save', '', '--dir', this.#folder, ...this.#settings];
    const child = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    let output = '';
    for await (const chunk of child.stdout) {
      output += String(chunk);
      if (output.includes('Ready to accept connections')) break;
    }
    child.stdout.resume();
    if (!output.includes('Ready to accept')) throw new Error(`redis-server did not start: ${output}`);
  }

  /** Halts it: connections stay, answers don't come. */
  async hang(): Promise<void> {
    await this.#container?.pause();
    this.#process?.kill('SIGSTOP');
  }

  async goOn(): Promise<void> {
    await this.#container?.resume();
    this.#process?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    await this.#container?.kill();
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  /** Kills it and removes its folder. */
  async remove(): Promise<void> {
    await this.kill();
    await this.#container?.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #contained(): Promise<Container> {
    return startContainer({
      image: 'redis',
      ports: { 6379: this.port },
      command: ['redis-server', '--save', ''],
      check: async () => {
        const socket = connect(this.port, '127.0.0.1', () => socket.write('PING\r\n'));
        try {
          await once(socket, 'data', { signal: AbortSignal.timeout(2_000) });
        } finally {
          socket.destroy();
        }
      },
    });
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { type Program, startProgram } from '../system/programs.js';
import type { TcpProxy } from '../system/tcp-proxy.js';
import type { Engine, MemberName, Role } from './plan.js';

/** One life of a process, for its log. */
export interface Life {
  /** Such as `process-1.2`: the second life. */
  name: string;
  program: Program;
}

/** A process of Millrace on its own ports, which is killed and restarted any number of times. */
export class Member {
  readonly name: MemberName;
  readonly http: string;
  readonly proxies: Record<Engine, TcpProxy>;
  readonly lives: Life[] = [];
  /** Unexpected exits. */
  readonly deaths: string[] = [];
  readonly #settings: Record<string, string>;
  #ending = false;

  constructor(
    name: MemberName,
    {
      port,
      proxies,
      settings,
    }: { port: number; proxies: Record<Engine, TcpProxy>; settings: Record<string, string> },
  ) {
    this.name = name;
    this.http = `http://127.0.0.1:${port}`;
    this.proxies = proxies;
    this.#settings = { ...settings, PORT: String(port) };
  }

  get role(): Role {
    return this.name.split('-')[0] as Role;
  }

  get program(): Program {
    const life = this.lives.at(-1);
    if (life === undefined) throw new Error(`${this.name} was never started`);
    return life.program;
  }

  start(): void {
    const life = {
      name: `${this.name}.${this.lives.length + 1}`,
      program: startProgram('cli/main.js', [this.role], this.#settings),
    };
    this.lives.push(life);
    this.#ending = false;
    void this.#watch(life);
  }

  async #watch({ name, program }: Life): Promise<void> {
    const how = await program.exited;
    if (!this.#ending) this.deaths.push(`${name} ended by itself: ${how}`);
  }

  async kill(): Promise<void> {
    this.#ending = true;
    await this.program.kill();
  }

  /** Asks it to end, and returns its exit code. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.#ending = true;
    this.program.signal('SIGTERM');
    return this.program.exited;
  }

  /** Of its connections to an engine: see `Fault`. */
  async cut(engine: Engine, how: 'reset' | 'closed' | 'hanging', ms: number): Promise<void> {
    const proxy = this.proxies[engine];
    if (how === 'hanging') proxy.hang();
    else await proxy.close();
    if (how !== 'reset') await sleep(ms);
    if (how === 'hanging') await proxy.close();
    await proxy.open();
  }
}

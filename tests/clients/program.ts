import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';

/** How to start a client program: its command and the arguments of every run. */
export type Command = readonly [string, ...string[]];

export interface Output {
  stdout: string;
  stderr: string;
}

/** A running client program: its output, and ways to wait for it. */
export class Program {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly name: string;
  private readonly ended: Promise<void>;
  private readonly failure: Promise<never>;
  stdout = '';
  stderr = '';

  constructor([command, ...first]: Command, args: readonly string[], input?: string) {
    this.name = [command, ...first, ...args].join(' ').slice(-300);
    this.child = spawn(command, [...first, ...args]);
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = once(this.child, 'close').then(() => undefined);
    this.failure = new Promise((_resolve, reject) => this.child.once('error', reject));
    // Waiting callers get the error; without any, the program may fail.
    this.failure.catch(() => undefined);
    // A program may end without reading all of its input.
    this.child.stdin.on('error', () => undefined);
    if (input !== undefined) this.child.stdin.end(input);
  }

  write(input: string): void {
    this.child.stdin.write(input);
  }

  endInput(): void {
    this.child.stdin.end();
  }

  /** Resolves when the program has ended by itself; rejects with what it printed when it failed. */
  async finished(): Promise<Output> {
    await Promise.race([this.ended, this.failure]);
    if (this.child.exitCode !== 0) throw this.error('failed');
    return { stdout: this.stdout, stderr: this.stderr };
  }

  /** Resolves once `holds` returns true after some output; rejects when the program ends before that. */
  async until(holds: (output: Output) => boolean): Promise<void> {
    let ended = false;
    const end = this.ended.then(() => (ended = true));
    while (!holds(this)) {
      if (ended) throw this.error('ended early');
      const stop = new AbortController();
      const { signal } = stop;
      const news = [this.child.stdout, this.child.stderr].map((stream) => once(stream, 'data', { signal }));
      await Promise.race([...news, end, this.failure]);
      stop.abort();
      await Promise.allSettled(news);
    }
  }

  /** Ends the program, whether it still runs or not. */
  async stop(signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.child.kill(signal);
    await this.ended;
  }

  private error(what: string): Error {
    const { exitCode, signalCode } = this.child;
    const printed = `${this.stdout.slice(-3000)}\n${this.stderr.slice(-6000)}`;
    return new Error(`… ${this.name} ${what} (${exitCode ?? signalCode ?? 'running'}):\n${printed}`);
  }
}

/** Runs a client program to its end. */
export function run(command: Command, args: readonly string[], input = ''): Promise<Output> {
  return new Program(command, args, input).finished();
}

/** Returns the lines of a text, without the empty ones. */
export function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

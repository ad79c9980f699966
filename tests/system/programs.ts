import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { vi } from 'vitest';
import { packageRoot } from '../../platform/paths.js';
import { patience } from './engines/chosen.js';

/** A process under test. */
export interface Program {
  /** All of its output so far. */
  output(): string;
  readonly pid: number;
  signal(signal: NodeJS.Signals): void;
  /** Kills it with SIGKILL and waits until it has exited. */
  kill(): Promise<void>;
  /** Its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  hasExited(): boolean;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Environment variables for a program under test: none points to engines of others. */
export const isolated: Record<string, string> = {
  TAXI_SCHEDULE: 'off',
  ...Object.fromEntries(
    [
      'MILLRACE_PROJECT',
      'KAFKA_BROKERS',
      'SCHEMA_REGISTRY_URL',
      'CLICKHOUSE_URL',
      'API_KEYS',
      'REDIS_URL',
      'RABBITMQ_URL',
      'NODE_OPTIONS',
      'OTEL_EXPORTER_OTLP_ENDPOINT',
    ].map((name) => [name, '']),
  ),
};

/** Starts a compiled file of the project, by its path under `dist/`. */
export function startProgram(file: string, args: string[], settings: Record<string, string>): Program {
  return startCommand(process.execPath, [join(packageRoot, 'dist', file), ...args], settings);
}

/**
 * Starts any command, in the project's folder. It has exited when all its descendants have closed their
 * output.
 */
export function startCommand(command: string, args: string[], settings: Record<string, string>): Program {
  const child = spawn(command, args, {
    cwd: packageRoot,
    env: { ...process.env, ...isolated, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let output = '';
  const collect = (chunk: Buffer): void => void (output += chunk.toString());
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const exited = once(child, 'close').then(([code, signal]) => {
    running.delete(child);
    return (code ?? signal) as number | NodeJS.Signals;
  });
  return {
    output: () => output,
    pid: child.pid ?? 0,
    exited,
    hasExited: () => child.exitCode !== null || child.signalCode !== null,
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Kills every remaining program, whatever its state. */
export async function killPrograms(): Promise<void> {
  await Promise.all(
    [...running].map(async (child) => {
      const closed = once(child, 'close');
      child.kill('SIGKILL');
      await closed;
    }),
  );
}

// Below those that Linux and macOS give to outgoing connections: one of these could take a port before its
// server does. Each worker of vitest has its own range, since another's programs have ports that are free
// until they start.
const portsPerWorker = 2_750;
const portsFrom = 10_000 + (Number(process.env['VITEST_POOL_ID'] ?? 0) % 8) * portsPerWorker;
const given = new Set<number>();

/** Returns free ports, which stay reserved over restarts. None is returned twice. */
export async function freePorts<Names extends string>(...names: Names[]): Promise<Record<Names, number>> {
  const ports = await Promise.all(names.map(async (name) => [name, await freePort()] as const));
  return Object.fromEntries(ports) as Record<Names, number>;
}

async function freePort(): Promise<number> {
  for (;;) {
    const port = portsFrom + Math.floor(Math.random() * portsPerWorker);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Returns status and parts of a process, from its `/health/ready`; a process without an answer is down. */
export async function readiness(http: string): Promise<Readiness> {
  try {
    const response = await fetch(`${http}/health/ready`, { signal: AbortSignal.timeout(5_000) });
    return (await response.json()) as Readiness;
  } catch {
    return { status: 'down', parts: {} };
  }
}

export interface Readiness {
  status: string;
  parts: Record<string, { status: string; detail?: string }>;
}

/** Waits until a process is ready; the error contains its output. */
export async function whenReady(
  program: Program,
  http: string,
  timeoutMs = patience * 60_000,
): Promise<void> {
  await vi.waitFor(
    async () => {
      const { status, parts } = await readiness(http);
      if (status !== 'up') throw new Error(`not ready: ${JSON.stringify(parts)}\n${program.output()}`);
    },
    { timeout: timeoutMs, interval: 50 },
  );
}

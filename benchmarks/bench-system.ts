import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts, type Program, readiness, startProgram } from '../tests/system/programs.js';
import type { Endpoints } from '../app/endpoints.js';

/** `millrace up` in a separate process, on free ports. */
export interface BenchSystem {
  pid: number;
  endpoints: Endpoints;
  /** From the start of the process until it reported readiness. */
  secondsToReady: number;
  /** Resolves when at least this number of predictions is in ClickHouse. */
  whenStored(count: number): Promise<void>;
  sql(query: string): Promise<string>;
  stop(): Promise<void>;
}

export async function makeFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** @param folder - for its data, with that of an earlier start or empty. */
export async function startSystem(folder: string): Promise<BenchSystem> {
  const endpointsFile = join(folder, 'endpoints.json');
  await rm(endpointsFile, { force: true });
  const started = performance.now();
  const child = fork(fileURLToPath(new URL('../cli/main.js', import.meta.url)), ['up', '--no-demo'], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: {
      ...process.env,
      // As `npm start`.
      MALLOC_ARENA_MAX: '2',
      PORT: '0',
      KAFKA_PORT: '0',
      SCHEMA_REGISTRY_PORT: '0',
      CLICKHOUSE_PORT: '0',
      DATA_DIR: folder,
      TAXI_SCHEDULE: 'off',
    },
  });
  const errors: string[] = [];
  child.stderr?.on('data', (text: Buffer) => errors.push(text.toString()));
  // It prints its screen when it is ready, and nothing before.
  await Promise.race([once(child.stdout ?? child, 'data'), once(child, 'exit')]);
  const secondsToReady = (performance.now() - started) / 1000;
  if (child.exitCode !== null || !existsSync(endpointsFile))
    throw new Error(`It did not start: ${errors.join('')}`);
  const endpoints = JSON.parse(await readFile(endpointsFile, 'utf8')) as Endpoints;
  const sql = async (query: string) =>
    (await fetch(endpoints.clickhouse, { method: 'POST', body: query })).text();
  return {
    pid: child.pid ?? 0,
    endpoints,
    secondsToReady,
    sql,
    whenStored: (count) => whenStored(count, sql),
    stop: () => stop(child),
  };
}

/** Starts `millrace serve` beside a system, on its engines, and returns its address. */
export async function startServe({ kafka, schema_registry, clickhouse }: Endpoints): Promise<string> {
  const { PORT } = await freePorts('PORT');
  const program = startProgram('cli/main.js', ['serve'], {
    PORT: String(PORT),
    KAFKA_BROKERS: kafka.join(','),
    SCHEMA_REGISTRY_URL: schema_registry,
    CLICKHOUSE_URL: clickhouse,
    LOG_LEVEL: 'warn',
  });
  const http = `http://127.0.0.1:${PORT}`;
  await whenUp(program, http);
  return http;
}

export async function stop(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await exit;
}

async function whenStored(count: number, sql: BenchSystem['sql']): Promise<void> {
  while (Number(await sql('SELECT count() FROM millrace.predictions_storage')) < count) await sleep(100);
}

/** Waits until a role in a process of its own is ready. */
export async function whenUp(program: Program, http: string): Promise<void> {
  await until(async () => {
    if (program.hasExited()) throw new Error(`It has ended:\n${program.output().slice(-6_000)}`);
    return (await readiness(http)).status === 'up';
  });
}

/** Waits for a condition that only asking tells. */
export async function until(done: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await done())) await sleep(50);
}

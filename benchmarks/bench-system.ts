import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
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

export async function stop(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await exit;
}

async function whenStored(count: number, sql: BenchSystem['sql']): Promise<void> {
  while (Number(await sql('SELECT count() FROM millrace.predictions_storage')) < count) await sleep(100);
}

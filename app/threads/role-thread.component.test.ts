import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest';
import { type EmbeddedKafka, startKafka } from '../../embedded/kafka/start.js';
import { type Config, loadConfig } from '../../platform/config.js';
import { Health } from '../../platform/health.js';
import { createMetrics } from '../../platform/metrics.js';
import type { ThreadRole } from './messages.js';
import { RoleThread } from './role-thread.js';

const clickHouseUrl = 'http://127.0.0.1:1';
let folder: string;
let kafka: EmbeddedKafka;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-threads-'));
  kafka = await startKafka({ registryPort: 0 });
});

afterAll(async () => {
  await kafka.stop();
  await rm(folder, { recursive: true });
});

function open(role: ThreadRole, settings: Record<string, string> = {}, onCrash?: (error: Error) => void) {
  const config: Config = loadConfig({ DATA_DIR: folder, CLICKHOUSE_URL: clickHouseUrl, ...settings });
  const engines = { brokers: kafka.brokers, registryUrl: kafka.registryUrl ?? '', clickHouseUrl };
  const workers: Worker[] = [];
  const add = (worker: Worker): void => void workers.push(worker);
  process.on('worker', add);
  const thread = new RoleThread({ role, config, engines, logFile: join(folder, 'millrace.log') }, onCrash);
  onTestFinished(async () => {
    process.off('worker', add);
    await thread.end();
  });
  const base = { health: new Health(), metrics: createMetrics() };
  return { thread, base, workers, start: () => thread.start([], base) };
}

it('shows parts and metrics of its role with those of the process', async () => {
  const { start, base } = open('process');
  await start();
  await base.health.whenUp();
  expect((await base.health.report()).parts).toHaveProperty('score credit-default', { status: 'up' });
  expect(await base.health.stuck()).toEqual({});
  const text = await base.metrics.text();
  expect(text).toMatch(/millrace_thread_utilization\{thread="process"\} [\d.e-]+/);
  expect(text).toMatch(/millrace_thread_utilization\{thread="main"\} [\d.e-]+/);
  expect(text.match(/^process_resident_memory_bytes /gm)).toHaveLength(1);
  expect(text).toContain('millrace_consumer_lag_records{group="millrace-score-car-price"');
});

it.runIf(process.platform === 'linux')('lets the main thread go first while the cores are busy', async () => {
  const niceness = (task: string): number => {
    const stat = readFileSync(`/proc/self/task/${task}/stat`, 'utf8');
    // Field 19; the name before it may contain spaces: proc_pid_stat(5).
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]);
  };
  const before = new Set(readdirSync('/proc/self/task'));
  const { start } = open('process');
  await start();
  // A thread may end between its name and its state.
  await vi.waitFor(() => {
    const added = readdirSync('/proc/self/task').filter((task) => !before.has(task));
    expect(added.map(niceness)).toContain(Math.min(niceness(String(process.pid)) + 5, 19));
  });
});

it('rejects its start with the error of the role, and can be stopped then', async () => {
  const empty = await mkdtemp(join(folder, 'no-project-'));
  const { thread, start } = open('process', { MILLRACE_PROJECT: empty });
  await expect(start()).rejects.toMatchObject({ code: 'PROJECT_INVALID' });
  await thread.stop();
});

it('is stopped before its start, and while it waits for an engine', async () => {
  const unused = open('process').thread;
  await unused.stop();
  const { thread, start } = open('sink');
  const [started] = await Promise.allSettled([start(), thread.stop()]);
  expect(started.status).toBe('rejected');
});

it('reports that the thread has ended by itself, and is down', async () => {
  const onCrash = vi.fn<(error: Error) => void>();
  const { start, base, workers } = open('process', {}, onCrash);
  await start();
  await workers[0]?.terminate();
  await vi.waitFor(() => expect(onCrash).toHaveBeenCalledOnce());
  expect(onCrash.mock.calls[0]?.[0]).toMatchObject({ code: 'THREAD_FAILED' });
  const { parts } = await base.health.report();
  expect(parts['thread process']).toMatchObject({ status: 'down' });
});

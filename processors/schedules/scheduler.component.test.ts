import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type EmbeddedKafka, startKafka } from '../../embedded/kafka/start.js';
import { silentLogger } from '../../platform/logger.js';
import { createMetrics } from '../../platform/metrics.js';
import { packageRoot } from '../../platform/paths.js';
import { loadContract } from '../../schemas/contracts.js';
import type { ScheduleRun } from '../../schemas/types.js';
import { SchemaRegistryClient } from '../../streams/schema-registry.js';
import { Serde } from '../../streams/serde.js';
import { createStreams, type Streams } from '../../streams/streams.js';
import { pipelineTopics, pipelineTopicSpecs, systemTopics, systemTopicSpecs } from '../../streams/topics.js';
import { unique } from '../../tests/contract/client.js';
import { apiKeys, FlakyNetwork } from '../../tests/contract/flaky-network.js';
import type { OpenPipeline, RegisteredContract } from '../pipelines/open-pipelines.js';
import { loadPipeline } from '../pipelines/load-pipelines.js';
import { followScheduleRuns } from './schedule-runs.js';
import type { Schedule } from './schedule.js';
import { Scheduler } from './scheduler.js';

const creditDefault = await loadPipeline(packageRoot, 'credit-default');
let folder: string;
let kafka: EmbeddedKafka;
let registry: SchemaRegistryClient;
let event: RegisteredContract;
let runContract: RegisteredContract;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-schedules-'));
  kafka = await startKafka({ dataDir: folder, host: '127.0.0.1', port: 0, registryPort: 0 });
  registry = new SchemaRegistryClient({ url: `http://127.0.0.1:${kafka.registryPort}` });
  const serde = new Serde(registry);
  const register = async (topic: string, at: string, name: string): Promise<RegisteredContract> => {
    const contract = loadContract(at, name);
    return { ...contract, schemaId: await serde.register(topic, contract.type) };
  };
  event = await register('credit-default.events', 'credit-default', 'event');
  runContract = await register(systemTopics.schedules, 'shared', 'schedule-run');
});

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

afterAll(async () => {
  await kafka.stop();
  await rm(folder, { recursive: true, force: true });
});

function open(): { streams: Streams; network: FlakyNetwork } {
  const network = new FlakyNetwork();
  const { socketFactory } = network;
  const brokers = [`127.0.0.1:${kafka.port}`];
  const streams = createStreams({ brokers, clientId: 'test', logger: silentLogger, socketFactory });
  closing.push(() => streams.close());
  return { streams, network };
}

async function newSchedule(set: Partial<Schedule> = {}): Promise<Schedule> {
  const name = unique('schedule');
  await open().streams.createTopics([...pipelineTopicSpecs(name, 2), ...systemTopicSpecs()]);
  return {
    name,
    pipeline: name,
    cron: '*/5 * * * *',
    timeZone: 'UTC',
    minEvents: 2,
    maxEvents: 5,
    ...set,
  };
}

async function start(schedule: Schedule, now: () => number = Date.now) {
  const { streams, network } = open();
  const serde = new Serde(registry);
  const runs = await followScheduleRuns({ streams, serde, logger: silentLogger });
  // The part of a pipeline that a scheduler uses, without models.
  const pipeline = {
    name: schedule.pipeline,
    pipeline: creditDefault.pipeline,
    event,
    topics: pipelineTopics(schedule.pipeline),
  } as OpenPipeline;
  const scheduler = new Scheduler({
    schedule,
    pipeline: () => pipeline,
    run: runContract,
    runs,
    streams,
    serde,
    metrics: createMetrics(),
    logger: silentLogger,
    now,
  });
  closing.push(() => scheduler.stop());
  return { scheduler, runs, network };
}

/** Everything on the log of a schedule; compaction may have removed all its runs but the last. */
async function logOf(schedule: Schedule): Promise<{ runs: ScheduleRun[]; eventIds: string[] }> {
  const { streams } = open();
  const serde = new Serde(registry);
  const runs: ScheduleRun[] = [];
  const eventIds: string[] = [];
  const follower = await streams.follow({
    topics: [systemTopics.schedules, pipelineTopics(schedule.pipeline).events],
    handle: async (records) => {
      for (const { topic, key, value, headers } of records) {
        if (topic !== systemTopics.schedules) eventIds.push(String(headers['ce_id']));
        else if (String(key) === schedule.name)
          runs.push((await serde.decode(value, runContract.type)) as ScheduleRun);
      }
    },
  });
  await follower.whenCaughtUp({ timeoutMs: 20_000 });
  return { runs, eventIds };
}

function expectOnce({ runs, eventIds }: Awaited<ReturnType<typeof logOf>>): void {
  expect(new Set(runs.map(({ due_at }) => due_at)).size).toBe(runs.length);
  expect(runs.map(({ run }) => run)).toEqual(runs.map((_, index) => index + 1));
  expect(new Set(eventIds).size).toBe(eventIds.length);
  expect(eventIds).toHaveLength(runs.reduce((sum, { events }) => sum + events, 0));
}

test('one of two copies does each run, with as many events as it says', async () => {
  const schedule = await newSchedule({ cron: '* * * * * *' });
  const [first, second] = await Promise.all([start(schedule), start(schedule)]);
  await expect.poll(() => first.runs.last(schedule.name)?.run ?? 0).toBeGreaterThanOrEqual(4);
  await Promise.all([first.scheduler.stop(), second.scheduler.stop()]);
  const log = await logOf(schedule);
  expectOnce(log);
  for (const { events } of log.runs) {
    expect(events).toBeGreaterThanOrEqual(2);
    expect(events).toBeLessThanOrEqual(5);
  }
});

test('after downtime one run makes up for all missed ones, and later runs follow the schedule', async () => {
  const schedule = await newSchedule();
  let clock = Date.parse('2026-01-31T11:59:59.990Z');
  const before = await start(schedule, () => clock++);
  await expect.poll(() => before.runs.last(schedule.name)?.run).toBe(1);
  await before.scheduler.stop();
  clock = Date.parse('2026-01-31T14:12:00Z');
  const after = await start(schedule, () => clock);
  await expect.poll(() => after.runs.last(schedule.name)?.run).toBe(2);
  await after.scheduler.stop();
  clock = Date.parse('2026-01-31T14:14:59.990Z');
  const later = await start(schedule, () => clock++);
  await expect.poll(() => later.runs.last(schedule.name)?.run).toBe(3);
  await later.scheduler.stop();
  const log = await logOf(schedule);
  expectOnce(log);
  expect(log.runs.map(({ due_at, catch_up }) => [new Date(due_at).toISOString(), catch_up])).toEqual([
    ['2026-01-31T12:00:00.000Z', false],
    ['2026-01-31T14:10:00.000Z', true],
    ['2026-01-31T14:15:00.000Z', false],
  ]);
});

test('a run whose commit is not answered is not done again', async () => {
  const schedule = await newSchedule({ cron: '* * * * * *' });
  const { scheduler, runs, network } = await start(schedule);
  await expect.poll(() => runs.last(schedule.name)?.run ?? 0).toBeGreaterThanOrEqual(1);
  network.loseAnswer(apiKeys.endTxn);
  await expect.poll(() => network.pendingFaults).toBe(0);
  network.loseRequest(apiKeys.endTxn);
  await expect.poll(() => network.pendingFaults).toBe(0);
  const reached = runs.last(schedule.name)?.run ?? 0;
  await expect.poll(() => runs.last(schedule.name)?.run ?? 0).toBeGreaterThan(reached + 1);
  await scheduler.stop();
  expectOnce(await logOf(schedule));
});

test('after an outage of the log one run makes up for all missed ones', async () => {
  const schedule = await newSchedule({ cron: '* * * * * *' });
  const { scheduler, runs, network } = await start(schedule);
  await expect.poll(() => runs.last(schedule.name)?.run ?? 0).toBeGreaterThanOrEqual(1);
  network.cut();
  const last = runs.last(schedule.name);
  await expect.poll(() => Date.now() - (last?.due_at ?? 0)).toBeGreaterThan(3_000);
  network.restore();
  await expect
    .poll(() => runs.last(schedule.name)?.due_at ?? 0, { timeout: 30_000 })
    .toBeGreaterThan((last?.due_at ?? 0) + 3_000);
  await scheduler.stop();
  const log = await logOf(schedule);
  expectOnce(log);
  expect(log.runs.filter(({ catch_up }) => catch_up)).not.toEqual([]);
});

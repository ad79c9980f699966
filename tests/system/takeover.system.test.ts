import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { audit, sql } from './audit.js';
import { patience } from './engines/chosen.js';
import { Load } from './load.js';
import { freePorts, type Program, readiness, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { runsAll } from './size.js';
import { type Engines, startEnginesApart } from './split-system.js';

/** The minimum that brokers allow: after this time a lost copy is noticed. */
const sessionTimeoutMs = 6_000;
const timeout = patience * 120_000;

interface Copy {
  program: Program;
  http: string;
}

let engines: Engines;
let load: Load;

beforeEach(async () => {
  engines = await startEnginesApart();
  load = await Load.create({ http: engines.http, random: seededRandom(4), clients: 50 });
});

afterEach(async () => {
  await engines.stop();
});

async function startRole(role: string): Promise<Copy> {
  const { PORT } = await freePorts('PORT');
  const program = engines.startMillrace([role], {
    PORT: String(PORT),
    KAFKA_SESSION_TIMEOUT_MS: String(sessionTimeoutMs),
  });
  return { program, http: `http://127.0.0.1:${PORT}` };
}

/** Predictions made by a copy of the scorer. */
async function predictionsOf({ http }: Copy): Promise<number> {
  const metrics = await (await fetch(`${http}/metrics`)).text();
  return Number(/^millrace_predictions_total\{.*\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

async function whenPredicts(copy: Copy): Promise<void> {
  const before = await predictionsOf(copy);
  await vi.waitFor(async () => expect(await predictionsOf(copy)).toBeGreaterThan(before + 20), {
    timeout: patience * 30_000,
    interval: 100,
  });
}

/** Waits until every acknowledged event is a row. */
async function whenStored(): Promise<void> {
  const ids = load.accepted.size;
  await vi.waitFor(
    async () => {
      const [row] = await sql<{ rows: number }>(
        engines.clickhouse,
        'SELECT toUInt32(count()) AS rows FROM millrace.predictions',
      );
      expect(row?.rows).toBeGreaterThanOrEqual(ids);
    },
    { timeout: patience * 40_000, interval: 100 },
  );
}

let sink: Copy;
let first: Copy;
let second: Copy;
let loading: { stop: () => Promise<void> };

async function startAll(): Promise<void> {
  const serve = engines.startMillrace(['serve']);
  sink = await startRole('sink');
  first = await startRole('process');
  second = await startRole('process');
  await whenReady(serve, engines.http);
  for (const copy of [sink, first, second]) await whenReady(copy.program, copy.http);
  loading = load.start();
  await Promise.all([whenPredicts(first), whenPredicts(second)]);
}

async function expectNothingLostOrDoubled(): Promise<void> {
  await loading.stop();
  const report = await audit(load, engines);
  console.info(JSON.stringify({ ...report, retries: load.retries }));
  expect(report.problems).toEqual([]);
}

it.runIf(runsAll)('the partitions of a killed scorer go to the other', { timeout }, async () => {
  await startAll();
  await first.program.kill();
  await load.postEvents(1_000);
  await whenStored();
  await expectNothingLostOrDoubled();
});

it.runIf(runsAll)(
  'those of a hanging scorer too, and it does no harm when it wakes; nor does a killed sink',
  { timeout },
  async () => {
    await startAll();
    // It wakes up in the middle of its batch, and assumes that it still owns the partitions.
    const large = load.postEvents(2_000);
    await whenPredicts(second);
    second.program.signal('SIGSTOP');
    await large;
    await whenStored();
    second.program.signal('SIGCONT');
    await vi.waitFor(async () => expect((await readiness(second.http)).status).toBe('up'), {
      timeout: patience * 30_000,
      interval: 100,
    });
    await whenPredicts(second);

    await sink.program.kill();
    sink = await startRole('sink');
    await whenReady(sink.program, sink.http);

    first.program.signal('SIGTERM');
    expect(await first.program.exited, first.program.output()).toBe(0);
    await whenPredicts(second);
    await expectNothingLostOrDoubled();
  },
);

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { audit, sql } from './audit.js';
import { Load } from './load.js';
import { freePorts, type Program, readiness, whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { startEnginesApart } from './split-system.js';

/** The shortest that brokers allow: a copy that is gone is missed after this time. */
const sessionTimeoutMs = 6_000;
const timeout = 120_000;

interface Copy {
  program: Program;
  http: string;
}

let engines: Awaited<ReturnType<typeof startEnginesApart>>;
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

/** Predictions that a copy of the scorer has made. */
async function predictionsOf({ http }: Copy): Promise<number> {
  const metrics = await (await fetch(`${http}/metrics`)).text();
  return Number(/^millrace_predictions_total\{.*\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

async function whenPredicts(copy: Copy): Promise<void> {
  const before = await predictionsOf(copy);
  await vi.waitFor(async () => expect(await predictionsOf(copy)).toBeGreaterThan(before + 20), {
    timeout: 30_000,
    interval: 100,
  });
}

/** Waits until everything acknowledged so far is a row. */
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
    { timeout: 40_000, interval: 100 },
  );
}

it('scorers share the partitions; those of one that is killed or hangs go to the others, nothing is lost or doubled', { timeout }, async () => {
  const serve = engines.startMillrace(['serve']);
  const sink = await startRole('sink');
  const first = await startRole('process');
  const second = await startRole('process');
  await whenReady(serve, engines.http);
  for (const copy of [sink, first, second]) await whenReady(copy.program, copy.http);
  const loading = load.start();
  await Promise.all([whenPredicts(first), whenPredicts(second)]);

  await first.program.kill();
  await load.postEvents(1_000);
  await whenStored();

  // A copy that hangs wakes up in the middle of its batch, and believes that the partitions are still its own.
  const third = await startRole('process');
  await whenReady(third.program, third.http);
  await Promise.all([whenPredicts(second), whenPredicts(third)]);
  const large = load.postEvents(2_000);
  second.program.signal('SIGSTOP');
  await large;
  await whenStored();
  second.program.signal('SIGCONT');
  await vi.waitFor(async () => expect((await readiness(second.http)).status).toBe('up'), {
    timeout: 30_000,
    interval: 100,
  });
  await whenPredicts(second);

  // The sink dies between an insert and its commit, or anywhere else; its rows come once.
  await sink.program.kill();
  const nextSink = await startRole('sink');
  await whenReady(nextSink.program, nextSink.http);
  third.program.signal('SIGTERM');
  expect(await third.program.exited, third.program.output()).toBe(0);
  await whenPredicts(second);

  await loading.stop();
  const report = await audit(load, engines);
  console.info(JSON.stringify({ ...report, retries: load.retries }));
  expect(report.problems).toEqual([]);
});

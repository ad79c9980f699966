import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { audit, sql } from './audit.js';
import { patience } from './engines/chosen.js';
import { Load } from './load.js';
import { whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { sized } from './size.js';
import { WholeSystem } from './whole-system.js';

const events = sized('MILLRACE_CRASH_EVENTS', { quick: 2_000, full: 100_000 });
const kills = sized('MILLRACE_CRASH_KILLS', { quick: 1, full: 10 });
const seed = Number(process.env['MILLRACE_CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const timeout = patience * (60_000 + kills * 10_000 + events * 3);

const senders = 4;
const eventsPerPredict = 100;

let endpoints: WholeSystem;

beforeEach(async () => {
  endpoints = await WholeSystem.create();
});

afterEach(() => endpoints.remove());

/** Waits until the number grows, for at most 2 s: all rows may have been stored before. */
async function growth(count: () => Promise<number>): Promise<void> {
  const before = await count();
  const deadline = performance.now() + 2_000;
  while ((await count()) === before && performance.now() < deadline) await sleep(5);
}

test(`${events} events over ${kills} kills: each is a row once, with its score`, { timeout }, async () => {
  console.info(`MILLRACE_CRASH_SEED=${seed} MILLRACE_CRASH_EVENTS=${events} MILLRACE_CRASH_KILLS=${kills}`);
  const random = seededRandom(seed);
  const { http, external } = endpoints;
  const load = await Load.create({ http, random });

  let system = endpoints.start();
  await whenReady(system, http);

  let sent = 0;
  const send = async (): Promise<void> => {
    while (sent < events) {
      const count = Math.min(events - sent, 1 + Math.floor(random() * 400));
      sent += count;
      await load.postEvents(count);
    }
  };
  const predict = async (): Promise<void> => {
    // While events arrive, so that there are some before, during and after each kill.
    while (load.predicted.size < events / eventsPerPredict) {
      if (load.predicted.size <= load.accepted.size / eventsPerPredict) await load.predict();
      else await sleep(1);
    }
  };
  const countRows = async (): Promise<number> => {
    const query = 'SELECT toUInt32(count()) AS rows FROM millrace.predictions';
    const [row] = await sql<{ rows: number }>(endpoints.clickhouse, query);
    return row?.rows ?? 0;
  };
  /**
   * Kills at a random moment after its share of the events was accepted; half of the time while rows arrive,
   * which is during transactions and inserts; half of the time again during the start. Every second kill hits
   * a separate log instead.
   */
  const kill = async (): Promise<void> => {
    for (let round = 0; round < kills; round++) {
      const threshold = ((round + random()) / kills) * events * 0.95;
      const early = random() < 0.5 ? random() * 1_000 : undefined;
      const amidRows = random() < 0.5;
      const momentMs = random() * 300;
      await vi.waitFor(() => expect(load.accepted.size).toBeGreaterThanOrEqual(threshold), {
        timeout,
        interval: 5,
      });
      if (amidRows) {
        await whenReady(system, http);
        await growth(countRows);
      }
      await sleep(momentMs);
      if (external.log !== undefined && round % 2 === 1) {
        await external.log.kill();
        await external.log.restart();
        continue;
      }
      await system.kill();
      system = endpoints.start();
      if (early === undefined) continue;
      await sleep(early);
      await system.kill();
      system = endpoints.start();
    }
    await vi.waitFor(() => expect(load.retries).toBeGreaterThan(0), { timeout, interval: 5 });
  };

  const startedAt = performance.now();
  // Until the kills are over: a late one could come when all events are sent, and must hit requests too.
  const requests = load.start();
  await Promise.all([...Array.from({ length: senders }, send), predict(), kill()]);
  await requests.stop();
  const acceptedMs = performance.now() - startedAt;
  await whenReady(system, http);

  const report = await audit(load, endpoints, patience * (30_000 + load.accepted.size));
  console.info(
    JSON.stringify({
      ...report,
      acceptedIds: load.accepted.size,
      predictedAnswers: load.predicted.size,
      retries: load.retries,
      acceptedSeconds: acceptedMs / 1000,
      seconds: (performance.now() - startedAt) / 1000,
    }),
  );
  expect(report.problems).toEqual([]);
  expect(report.rows).toBeGreaterThanOrEqual(events);

  system.signal('SIGTERM');
  expect(await system.exited).toBe(0);
});

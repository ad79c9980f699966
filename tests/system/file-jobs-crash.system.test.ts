import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'csv-parse/sync';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { silentLogger } from '../../platform/logger.js';
import { packageRoot } from '../../platform/paths.js';
import { rowEventId } from '../../processors/jobs/job.js';
import { createStreams } from '../../streams/streams.js';
import { sql } from './audit.js';
import { patience } from './engines/chosen.js';
import { fileForm, type JobAnswer, whenFinished } from './file-jobs.js';
import { whenReady } from './programs.js';
import { seededRandom } from './seeded-random.js';
import { runsAll, sized } from './size.js';
import { WholeSystem } from './whole-system.js';

const rows = sized('MILLRACE_CRASH_ROWS', { quick: 5_000, full: 20_000 });
const kills = sized('MILLRACE_CRASH_KILLS', { quick: 2, full: 8 });
const seed = Number(process.env['MILLRACE_CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const timeout = patience * (60_000 + kills * 10_000 + rows * 3);

/** Rows repeat after this number, and one of them is bad. */
const kinds = 40;
const isBad = (row: number): boolean => row % kinds === 7;

let whole: WholeSystem;

beforeEach(async () => {
  whole = await WholeSystem.create();
});

afterEach(() => whole.remove());

async function makeCsv(): Promise<string> {
  const client = JSON.parse(
    await readFile(join(packageRoot, 'examples', 'credit-default.json'), 'utf8'),
  ) as Record<string, number>;
  const names = Object.keys(client);
  const lines = Array.from({ length: rows }, (_, index) => {
    const row: Record<string, number> = { ...client, LIMIT_BAL: 10_000 * ((index % kinds) + 1) };
    return [index + 1, ...names.map((name) => (name === 'AGE' && isBad(index) ? 'old' : row[name]))].join(
      ',',
    );
  });
  return [['ID', ...names].join(','), ...lines].join('\n');
}

/** Counts each event id of a job on a topic, as a consumer of committed records. */
async function countIds(brokers: string[], topic: string, rowIds: string): Promise<Map<string, number>> {
  const streams = createStreams({ brokers, clientId: 'audit', logger: silentLogger });
  const counts = new Map<string, number>();
  try {
    const follower = await streams.follow({
      topics: [topic],
      handle: (records) => {
        for (const { headers, key } of records) {
          const id = topic.endsWith('.events') ? headers['ce_id']?.toString() : key?.toString();
          if (id?.startsWith(rowIds)) counts.set(id, (counts.get(id) ?? 0) + 1);
        }
      },
    });
    await follower.whenCaughtUp({ timeoutMs: 30_000 });
    return counts;
  } finally {
    await streams.close();
  }
}

test.runIf(runsAll)(
  `a job of ${rows} rows over ${kills} kills: each row is scored once, in order`,
  { timeout },
  async () => {
    console.info(`MILLRACE_CRASH_SEED=${seed} MILLRACE_CRASH_ROWS=${rows} MILLRACE_CRASH_KILLS=${kills}`);
    const random = seededRandom(seed);
    const { http } = whole;
    let system = whole.start();
    await whenReady(system, http);

    const path = `${http}/v1/pipelines/credit-default/files`;
    const response = await fetch(path, { method: 'POST', body: fileForm(await makeCsv(), 'clients.csv') });
    expect(response.status).toBe(202);
    const { job_id } = (await response.json()) as JobAnswer;

    const stateNow = (): Promise<JobAnswer> =>
      fetch(`${http}/v1/jobs/${job_id}`).then((answer) => answer.json() as Promise<JobAnswer>);
    for (let kill = 0; kill < kills; kill++) {
      const threshold = ((kill + random()) / kills) * rows * 0.9;
      const isFar = async (): Promise<void> => {
        const { state, rows: done } = await stateNow();
        if (state !== 'done') expect(done.published).toBeGreaterThanOrEqual(threshold);
      };
      // The first kill comes at once: on a fast machine the job may be done before the others. Half of the
      // others come as soon as the API answers, before the job continues.
      if (kill === 0) expect((await stateNow()).state).toMatch(/^(accepted|checking|publishing|scoring)$/);
      else {
        if (random() < 0.5) await vi.waitFor(isFar, { timeout, interval: 5 });
        await sleep(random() * 200);
      }
      await system.kill();
      system = whole.start();
      await vi.waitFor(() => fetch(`${http}/health/live`), { timeout: 30_000, interval: 5 });
    }
    await whenReady(system, http);
    const job = await whenFinished(http, job_id, timeout);
    const bad = Array.from({ length: rows }, (_, row) => row).filter(isBad).length;
    expect(job).toMatchObject({
      state: 'done',
      rows: { total: rows, published: rows - bad, scored: rows - bad, failed: bad },
    });

    const result = await (await fetch(http + job.links.result)).text();
    const records: Record<string, string>[] = parse(result, { columns: true });
    expect(records.map(({ ID }) => ID)).toEqual(Array.from({ length: rows }, (_, row) => String(row + 1)));
    const row_ids = records.find(({ event_id }) => event_id)?.['event_id']?.slice(0, 28) ?? '';
    for (const [row, { prediction, event_id, error }] of records.entries()) {
      if (isBad(row))
        expect([prediction, event_id, error?.slice(0, 17)]).toEqual(['', '', 'EVENT_INVALID: AG']);
      else
        expect([prediction, event_id, error]).toEqual([
          records[row % kinds]?.['prediction'],
          rowEventId({ job_id, row_ids }, row + 1),
          '',
        ]);
    }

    const ids = records.flatMap(({ event_id }) => (event_id ? [[event_id, 1] as const] : []));
    for (const topic of ['credit-default.events', 'credit-default.predictions']) {
      expect(await countIds(whole.kafka, topic, row_ids)).toEqual(new Map(ids));
    }
    const [stored] = await sql<{ rows: number; ids: number }>(
      whole.clickhouse,
      'SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(event_id)) AS ids FROM millrace.predictions',
    );
    expect(stored).toEqual({ rows: ids.length, ids: ids.length });

    system.signal('SIGTERM');
    expect(await system.exited).toBe(0);
  },
);

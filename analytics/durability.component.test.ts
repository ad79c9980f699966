import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { migrate } from './migrate.js';
import { openEmbeddedAnalytics } from './testing/embedded-analytics.js';

/** Migrates, then keeps inserting ten rows at a time, and prints the number of each resolved insert. */
const writer = `
  const [dataDir, run] = process.argv.slice(1);
  const { openEmbeddedAnalytics } = await import(${JSON.stringify(new URL('testing/embedded-analytics.js', import.meta.url).href)});
  const { migrate } = await import(${JSON.stringify(new URL('migrate.js', import.meta.url).href)});
  const { insertBatch, insertRows } = await import(${JSON.stringify(new URL('insert.js', import.meta.url).href)});
  const { batchOfRows } = await import(${JSON.stringify(new URL('testing/batch-of-rows.js', import.meta.url).href)});
  const { predictionRow } = await import(${JSON.stringify(new URL('testing/rows.js', import.meta.url).href)});
  const analytics = await openEmbeddedAnalytics(dataDir);
  const { client } = analytics;
  await migrate(client);
  for (let insert = 0; ; insert++) {
    const rows = Array.from({ length: 10 }, (_, row) => predictionRow({ event_id: [run, insert, row].join('-') }));
    const token = run + '-' + insert;
    if (insert % 2 === 0) await insertRows(client, 'predictions', rows, token);
    else await insertBatch(analytics, 'predictions', batchOfRows(analytics, rows), token);
    process.stdout.write(insert + '\\n');
  }
`;

/** @returns the number of resolved inserts before the process was killed. */
async function insertUntilKilled(dataDir: string, run: number, inserts: number): Promise<number> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', writer, dataDir, String(run)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let acknowledged = 0;
  for await (const line of createInterface(child.stdout)) {
    acknowledged = Number(line) + 1;
    if (acknowledged >= inserts) child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  expect(child.signalCode).toBe('SIGKILL');
  return acknowledged;
}

test(
  'what was inserted survives kill -9, whole and once, and the data opens again',
  { timeout: 60_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-durability-'));
    try {
      const acknowledged = [
        await insertUntilKilled(folder, 0, 1),
        await insertUntilKilled(folder, 1, 20),
        await insertUntilKilled(folder, 2, 7),
      ];
      const analytics = await openEmbeddedAnalytics(folder);
      expect(await migrate(analytics.client)).toEqual([]);
      const result = await analytics.client.query({
        query: `SELECT toUInt8(splitByChar('-', event_id)[1]) AS run, toUInt32(splitByChar('-', event_id)[2]) AS insert, toUInt32(count()) AS rows
        FROM millrace.predictions GROUP BY run, insert ORDER BY run, insert`,
        format: 'JSONEachRow',
      });
      const found = await result.json<{ run: number; insert: number; rows: number }>();
      await analytics.close();
      for (const [run, inserts] of acknowledged.entries()) {
        const ofRun = found.filter((row) => row.run === run);
        expect(ofRun.length).toBeGreaterThanOrEqual(inserts);
        expect(ofRun.map((row) => row.insert)).toEqual(ofRun.map((_, index) => index));
        expect(new Set(ofRun.map((row) => row.rows))).toEqual(new Set([10]));
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);

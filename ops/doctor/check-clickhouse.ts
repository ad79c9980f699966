import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Analytics, clickHouseSettings, createAnalytics } from '../../analytics/client.js';
import { translateError } from '../../analytics/errors.js';
import { damagedParts } from '../../analytics/damage.js';
import { migrationsFolder } from '../../analytics/migrate.js';
import type { Config } from '../../platform/config.js';
import { messageOf } from '../../platform/errors.js';
import { attempt, type Diagnosis, type Notes } from './diagnosis.js';

/** Oldest tested release: year and month. */
const minVersion = [24, 8] as const;
const minFreeShare = 0.1;
/** ClickHouse delays inserts from 1,000 parts on (`parts_to_delay_insert`). */
const manyParts = 500;

const views = [
  'predictions',
  'predictions_by_time',
  'dead_letters',
  'outcomes',
  'model_events',
  'dead_letter_resolutions',
  'ride_predictions',
];
const storages = views.filter((view) => view !== 'ride_predictions').map((view) => `${view}_storage`);

export type Ask = <Row>(query: string) => Promise<Row[]>;

/**
 * Checks that ClickHouse is reachable and writable and has the tables of this version. Also checks its clock
 * and disks.
 */
export async function checkClickHouse(diagnosis: Diagnosis, config: Config, url: string): Promise<void> {
  const notes = diagnosis.notes('clickhouse');
  const analytics = createAnalytics({ ...clickHouseSettings(config), url, requestTimeoutMs: 4_000 });
  const ask = queryRunner(analytics);
  try {
    const fix = 'Check that it runs and CLICKHOUSE_URL, CLICKHOUSE_USER and CLICKHOUSE_PASSWORD are right.';
    const isThere = await attempt(notes, { what: 'ClickHouse can’t be used', fix }, async () => {
      await ask('SELECT 1');
      const askedAt = Date.now();
      const [row] = await ask<{ version: string; now: number }>(
        'SELECT version() AS version, toFloat64(toUnixTimestamp64Milli(now64(3))) AS now',
      );
      const answeredAt = Date.now();
      const version = row?.version ?? '';
      notes.ok(`ClickHouse ${version} answers in ${answeredAt - askedAt} ms`);
      if (isOlder(version))
        notes.error(
          `ClickHouse ${version} is older than ${minVersion.join('.')}, the oldest tested version`,
          'Upgrade ClickHouse.',
        );
      diagnosis.noteClock('ClickHouse', row?.now ?? 0, { askedAt, answeredAt });
    });
    if (!isThere) return;
    const also = (what: string, check: () => Promise<void>): Promise<boolean> =>
      attempt(
        notes,
        { what, fix: 'Grant the missing privilege, or check the ClickHouse log.', timeoutMs: 15_000 },
        check,
      );
    // Each of these checks runs many queries, which have their own time limits.
    await also('Cannot inspect the tables', () => checkTables(notes, ask, grantChecker(analytics)));
    await also('Cannot inspect the disks', () => checkDisks(diagnosis.notes('disk'), ask));
    await also('Cannot count the parts of tables', () => checkParts(notes, ask));
    await also('Cannot look for damaged parts', () => checkDamage(notes, ask));
  } finally {
    await analytics.close();
  }
}

async function checkTables(
  notes: Notes,
  ask: Ask,
  checkGrant: (grant: string) => Promise<string>,
): Promise<void> {
  const tables = await ask<{ name: string }>("SELECT name FROM system.tables WHERE database = 'millrace'");
  const there = new Set(tables.map(({ name }) => name));
  const start = 'Start a sink of this version: it creates the tables.';
  if (there.size === 0) {
    notes.warn('The database millrace does not exist or is not visible to this user', start);
    return;
  }
  const missing = [...views, ...storages].filter((name) => !there.has(name));
  if (missing.length > 0) notes.error(`millrace.${missing.join(', millrace.')} is missing`, start);
  else notes.ok(`All ${views.length} views and their tables exist`);
  await checkMigrations(notes, ask, start);
  const readable = views.filter((name) => there.has(name));
  const writable = storages.filter((name) => there.has(name));
  await Promise.all([
    ...readable.map((view) => {
      const fix = `GRANT SELECT ON millrace.* TO <user>; or recreate the view: ${start}`;
      return attempt(notes, { what: `Cannot read millrace.${view}`, fix }, async () => {
        await ask(`SELECT * FROM millrace.${view} LIMIT 0`);
      });
    }),
    ...writable.map((storage) => {
      const fix = 'GRANT INSERT, SELECT, CREATE, ALTER, DROP VIEW ON millrace.* TO <user>;';
      return attempt(notes, { what: `Cannot write to millrace.${storage}`, fix }, () =>
        checkInsert(ask, storage),
      );
    }),
  ]);
  await checkGrants(notes, checkGrant);
}

/** Inserts no rows. ClickHouse checks the privilege and adds no part. */
async function checkInsert(ask: Ask, table: string): Promise<void> {
  await ask(`INSERT INTO millrace.${table} SELECT * FROM millrace.${table} WHERE 0`);
}

/** Checks the privileges that a sink needs at its start. `CHECK GRANT` exists since ClickHouse 24.10. */
async function checkGrants(notes: Notes, checkGrant: (grant: string) => Promise<string>): Promise<void> {
  const wanted = ['CREATE DATABASE', 'CREATE TABLE', 'CREATE VIEW', 'ALTER TABLE', 'DROP VIEW'];
  const denied: string[] = [];
  for (const grant of wanted) {
    try {
      if ((await checkGrant(grant)) === '0') denied.push(grant);
    } catch {
      notes.ok('Privileges to create tables were not checked: this ClickHouse has no CHECK GRANT');
      return;
    }
  }
  if (denied.length > 0)
    notes.error(
      `A sink lacks ${denied.join(', ')} and cannot create its tables`,
      `GRANT ${denied.join(', ')} ON millrace.* TO <user>;`,
    );
  else notes.ok('The user can create, read and write tables');
}

async function checkMigrations(notes: Notes, ask: Ask, start: string): Promise<void> {
  const names = (await readdir(migrationsFolder)).filter((name) => name.endsWith('.sql')).toSorted();
  const applied = new Map(
    (
      await ask<{ name: string; checksum: string }>('SELECT name, checksum FROM millrace.migrations FINAL')
    ).map(({ name, checksum }) => [name, checksum]),
  );
  const pending = names.filter((name) => !applied.has(name));
  const unknown = [...applied.keys()].filter((name) => !names.includes(name));
  for (const name of names) {
    const text = await readFile(join(migrationsFolder, name), 'utf8');
    const checksum = createHash('sha256').update(text).digest('hex');
    if ((applied.get(name) ?? checksum) !== checksum)
      notes.error(
        `The migration ${name} was applied with different contents: a sink of this version cannot start`,
        'Restore the file of the running version.',
      );
  }
  if (pending.length > 0) notes.warn(`Not applied yet: ${pending.join(', ')}`, start);
  if (unknown.length > 0)
    notes.warn(`A newer version has applied ${unknown.join(', ')}`, 'Run the newer version everywhere.');
  if (pending.length === 0 && unknown.length === 0) notes.ok(`The tables are at migration ${names.at(-1)}`);
}

async function checkDisks(notes: Notes, ask: Ask): Promise<void> {
  const disks = await ask<{ name: string; free: number; total: number }>(
    'SELECT name, toFloat64(free_space) AS free, toFloat64(total_space) AS total FROM system.disks WHERE total_space > 0 AND total_space < 9000000000000000000',
  );
  for (const { name, free, total } of disks) {
    const summary = `The ClickHouse disk ${name} has ${gigabytes(free)} of ${gigabytes(total)} GB free`;
    if (free / total < minFreeShare)
      notes.warn(summary, 'Free space or use a larger disk. On a full disk inserts fail and the sink waits.');
    else notes.ok(summary);
  }
}

/** Reports each damaged part that ClickHouse has detached. */
export async function checkDamage(notes: Notes, ask: Ask): Promise<void> {
  const damaged = await damagedParts(ask);
  for (const { table, name, reason } of damaged)
    notes.error(
      `The part ${name} of millrace.${table} was damaged and detached (${reason}): its rows are missing`,
      'Run `millrace audit` to list the missing rows. Restore the part from a backup, or reset the sink’s offsets to the beginning to store the log again. Then run ALTER TABLE … DROP DETACHED PART.',
    );
  if (damaged.length === 0) notes.ok('No part of a table is damaged');
}

async function checkParts(notes: Notes, ask: Ask): Promise<void> {
  const parts = await ask<{ table: string; parts: number }>(
    "SELECT table, toUInt32(count()) AS parts FROM system.parts WHERE database = 'millrace' AND active GROUP BY table HAVING parts > " +
      manyParts,
  );
  for (const { table, parts: count } of parts)
    notes.warn(
      `millrace.${table} has ${count} parts: inserts become slow at 1,000`,
      'Raise SINK_BATCH_DELAY_MS or SINK_BATCH_ROWS for fewer and larger inserts, and look for failing merges: SELECT * FROM system.merges.',
    );
  if (parts.length === 0) notes.ok(`No table has more than ${manyParts} parts`);
}

function queryRunner({ client }: Analytics): Ask {
  return async <Row>(query: string) => {
    try {
      if (query.startsWith('INSERT')) {
        await client.command({ query });
        return [];
      }
      return await (await client.query({ query, format: 'JSONEachRow' })).json<Row>();
    } catch (error) {
      throw new Error(messageOf(translateError(error, 'ask ClickHouse')), { cause: error });
    }
  };
}

/** `CHECK GRANT` accepts no FORMAT clause, which the client's `query` adds. */
function grantChecker({ client }: Analytics): (grant: string) => Promise<string> {
  return async (grant) => {
    const { stream } = await client.exec({ query: `CHECK GRANT ${grant} ON millrace.*` });
    let text = '';
    for await (const bytes of stream) text += String(bytes);
    return text.trim();
  };
}

function isOlder(version: string): boolean {
  const [year = 0, release = 0] = version.split('.').map(Number);
  return year < minVersion[0] || (year === minVersion[0] && release < minVersion[1]);
}

export function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { MillraceError } from '../platform/errors.js';
import { packageRoot } from '../platform/paths.js';
import { translateError } from './errors.js';
import { fillByTime } from './fill-by-time.js';

/** Folder of the migrations. */
export const migrationsFolder = join(packageRoot, 'analytics', 'migrations');

const ownTables = [
  'CREATE DATABASE IF NOT EXISTS millrace',
  `CREATE TABLE IF NOT EXISTS millrace.migrations
   (name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
   ENGINE = ReplacingMergeTree(applied_at) ORDER BY name`,
];

/**
 * What follows the statements of a file when it is applied for the first time; harmless to run twice, as they
 * are.
 */
const afterwards: Readonly<Record<string, (client: ClickHouseClient) => Promise<void>>> = {
  '0005-predictions-by-time.sql': fillByTime,
};

/**
 * Migrates the database `millrace`: applies the files of `analytics/migrations/` in the order of their names.
 * Statements are idempotent, so that the next run completes an interrupted one, concurrent runs are safe, and
 * dropped tables are recreated. A file is recorded after its last statement, and must not change after that.
 * If a newer version has applied further files, applied files are not run again, and a view that a later file
 * has replaced stays, so that an older view never replaces a newer one, even for a moment.
 *
 * @param folder - for tests.
 * @returns the names of the files applied for the first time.
 * @throws {MillraceError} `MIGRATION_CHANGED` if an applied file has changed; otherwise as
 *   {@link translateError}.
 */
export async function migrate(client: ClickHouseClient, folder = migrationsFolder): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).toSorted();
  try {
    for (const statement of ownTables) await client.command({ query: statement });
    const applied = await appliedChecksums(client);
    const files = await Promise.all(names.map((name) => readMigration(folder, name)));
    const changed = files.find(({ name, checksum }) => (applied.get(name) ?? checksum) !== checksum);
    if (changed !== undefined) throw changedFile(changed.name);
    const views = await viewNames(client);
    const replacedLater = (file: Migration, view: string): boolean =>
      files.slice(files.indexOf(file) + 1).some((each) => applied.has(each.name) && each.views.has(view));
    const done: string[] = [];
    const isNewer = [...applied.keys()].some((name) => !names.includes(name));
    for (const file of files) {
      const { name, statements, checksum } = file;
      if (isNewer && applied.has(name)) continue;
      // Includes applied files, to recreate dropped tables.
      for (const statement of statements) {
        const view = replacedView(statement);
        if (view !== undefined && views.has(view) && replacedLater(file, view)) continue;
        await client.command({ query: statement });
      }
      if (applied.has(name)) continue;
      await afterwards[name]?.(client);
      await client.insert({
        table: 'millrace.migrations',
        columns: ['name', 'checksum'],
        format: 'JSONEachRow',
        values: [{ name, checksum }],
        clickhouse_settings: { async_insert: 0 },
      });
      done.push(name);
    }
    return done;
  } catch (error) {
    throw translateError(error, 'apply the ClickHouse migrations');
  }
}

interface Migration {
  name: string;
  checksum: string;
  statements: string[];
  /** Views that it replaces. */
  views: ReadonlySet<string>;
}

async function readMigration(folder: string, name: string): Promise<Migration> {
  const text = await readFile(join(folder, name), 'utf8');
  const statements = splitStatements(text);
  const views = new Set(statements.flatMap((statement) => replacedView(statement) ?? []));
  return { name, checksum: createHash('sha256').update(text).digest('hex'), statements, views };
}

function replacedView(statement: string): string | undefined {
  return /^CREATE OR REPLACE VIEW (\S+)/.exec(statement)?.[1];
}

/** Returns the views that exist, as migrations name them. */
async function viewNames(client: ClickHouseClient): Promise<Set<string>> {
  const result = await client.query({
    query:
      "SELECT concat(database, '.', name) AS view FROM system.tables WHERE database = 'millrace' AND engine = 'View'",
    format: 'JSONEachRow',
  });
  const rows = await result.json<{ view: string }>();
  return new Set(rows.map(({ view }) => view));
}

/** Splits a migration into statements, which end with a semicolon at the end of a line. */
export function splitStatements(text: string): string[] {
  const withoutComments = text.replaceAll(/^\s*--.*$/gm, '');
  return withoutComments
    .split(/;[ \t]*(?:\r?\n|$)/)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '');
}

async function appliedChecksums(client: ClickHouseClient): Promise<Map<string, string>> {
  const result = await client.query({
    query: 'SELECT name, checksum FROM millrace.migrations FINAL',
    format: 'JSONEachRow',
  });
  const rows = await result.json<{ name: string; checksum: string }>();
  return new Map(rows.map((row) => [row.name, row.checksum]));
}

function changedFile(name: string): MillraceError {
  return new MillraceError(
    'MIGRATION_CHANGED',
    `The migration ${name} was applied to this database with different contents. Restore the file and add the change in a new one.`,
  );
}

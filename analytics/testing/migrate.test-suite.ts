import { copyFile, cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Analytics } from '../client.js';
import { migrate, migrationsFolder } from '../migrate.js';
import { findPredictions } from '../queries.js';
import { predictionRow } from './rows.js';

/**
 * Tests of the migrations, for one way of reaching ClickHouse. They drop and rebuild the database `millrace`.
 *
 * @param opened - called before the first test; `folder` is for their files.
 */
export function testMigrations(opened: () => { analytics: Analytics; folder: string }): void {
  describe('migrate', () => {
    let folder: string;
    let analytics: Analytics;
    beforeAll(() => {
      ({ analytics, folder } = opened());
    });

    async function select<T>(query: string): Promise<T[]> {
      const result = await analytics.client.query({ query, format: 'JSONEachRow' });
      return await result.json<T>();
    }

    test('has nothing to do the second time', async () => {
      expect(await migrate(analytics.client)).toEqual([]);
    });

    test('refuses a file that was changed after it was applied', async () => {
      const files = join(folder, 'changed');
      await mkdir(files);
      await writeFile(
        join(files, '9001-test.sql'),
        'CREATE TABLE IF NOT EXISTS millrace.t1 (a Int8) ENGINE = Memory;\n',
      );
      expect(await migrate(analytics.client, files)).toEqual(['9001-test.sql']);
      await writeFile(
        join(files, '9001-test.sql'),
        'CREATE TABLE IF NOT EXISTS millrace.t1 (b Int8) ENGINE = Memory;\n',
      );
      await expect(migrate(analytics.client, files)).rejects.toMatchObject({ code: 'MIGRATION_CHANGED' });
    });

    test('finishes what an interrupted run began', async () => {
      const files = join(folder, 'interrupted');
      await mkdir(files);
      const first = 'CREATE TABLE IF NOT EXISTS millrace.t2 (a Int8) ENGINE = Memory;\n';
      await writeFile(join(files, '9002-test.sql'), `${first}SELECT no_such_function();\n`);
      await expect(migrate(analytics.client, files)).rejects.toMatchObject({ code: 'CLICKHOUSE_REFUSED' });
      await writeFile(
        join(files, '9002-test.sql'),
        `${first}CREATE TABLE IF NOT EXISTS millrace.t3 (a Int8) ENGINE = Memory;\n`,
      );
      expect(await migrate(analytics.client, files)).toEqual(['9002-test.sql']);
      expect(await select('SELECT * FROM millrace.t3')).toEqual([]);
    });

    test('puts no older view back where a newer version has been', async () => {
      const newer = 'CREATE OR REPLACE VIEW millrace.outcomes AS SELECT 1 AS newer';
      await analytics.client.command({ query: newer });
      await analytics.client.command({
        query: "INSERT INTO millrace.migrations (name, checksum) VALUES ('9999-newer.sql', '')",
      });
      try {
        const files = join(folder, 'with-view');
        await cp(migrationsFolder, files, { recursive: true });
        await analytics.client.command({
          query:
            "INSERT INTO millrace.migrations (name, checksum) SELECT '9000-view.sql', lower(hex(SHA256('CREATE OR REPLACE VIEW millrace.outcomes AS SELECT 2 AS older;')))",
        });
        await writeFile(
          join(files, '9000-view.sql'),
          'CREATE OR REPLACE VIEW millrace.outcomes AS SELECT 2 AS older;',
        );
        expect(await migrate(analytics.client, files)).toEqual([]);
        expect(await select('SELECT * FROM millrace.outcomes')).toEqual([{ newer: 1 }]);
      } finally {
        await analytics.client.command({ query: 'DROP VIEW millrace.outcomes' });
        await analytics.client.command({ query: 'TRUNCATE TABLE millrace.migrations' });
        await migrate(analytics.client);
      }
    });

    test('keeps a newer view while it runs again, and makes a dropped one anew', async () => {
      const queries: string[] = [];
      const client = Object.assign(Object.create(analytics.client) as typeof analytics.client, {
        command: (command: { query: string }) => {
          queries.push(command.query);
          return analytics.client.command(command);
        },
      });
      const replacing = (): string[] =>
        queries
          .splice(0)
          .filter((query) => query.startsWith('CREATE OR REPLACE VIEW millrace.predictions AS'));
      expect(await migrate(client)).toEqual([]);
      expect(replacing()).toEqual([expect.stringContaining('model_event_at, outputs')]);
      await analytics.client.command({ query: 'DROP VIEW millrace.predictions' });
      expect(await migrate(client)).toEqual([]);
      expect(replacing().at(-1)).toContain('model_event_at, outputs');
      expect(await select('DESCRIBE TABLE millrace.predictions')).toContainEqual(
        expect.objectContaining({ name: 'outputs' }),
      );
    });

    test('brings tables of an older version up to date, with what is in them', async () => {
      const files = join(folder, 'older');
      await mkdir(files);
      const [first = ''] = (await readdir(migrationsFolder)).toSorted();
      await copyFile(join(migrationsFolder, first), join(files, first));
      await analytics.client.command({ query: 'DROP DATABASE millrace' });
      await migrate(analytics.client, files);
      const {
        role: _,
        model_event: _offset,
        model_event_at: _at,
        outputs: _outputs,
        ...older
      } = predictionRow();
      const table = 'millrace.predictions_storage';
      await analytics.client.insert({
        table,
        columns: Object.keys(older) as [string, ...string[]],
        values: [older],
        format: 'JSONEachRow',
        clickhouse_settings: { async_insert: 0, date_time_input_format: 'best_effort' },
      });
      expect(await select('SELECT event_id FROM millrace.predictions')).toHaveLength(1);
      expect(await migrate(analytics.client)).not.toEqual([]);
      expect(await findPredictions(analytics.client, [older.event_id])).toEqual([
        { ...older, role: 'champion', model_event: -1, model_event_at: null, outputs: '{}' },
      ]);
      expect(await select('SELECT event_id FROM millrace.predictions_by_time')).toEqual([
        { event_id: older.event_id },
      ]);
      await analytics.client.command({ query: `TRUNCATE TABLE ${table}` });
      await analytics.client.command({ query: 'TRUNCATE TABLE millrace.predictions_by_time_storage' });
    });

    test('runs twice at once', async () => {
      await analytics.client.command({ query: 'TRUNCATE TABLE millrace.migrations' });
      await Promise.all([migrate(analytics.client), migrate(analytics.client)]);
      expect(await migrate(analytics.client)).toEqual([]);
    });
  });
}

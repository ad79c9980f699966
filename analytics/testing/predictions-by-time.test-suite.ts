import { beforeAll, describe, expect, test } from 'vitest';
import type { Analytics } from '../client.js';
import { fillByTime } from '../fill-by-time.js';
import { insertRows } from '../insert.js';
import { migrate } from '../migrate.js';
import { predictionRow } from './rows.js';

/**
 * Tests of the view `predictions_by_time`, for one way of reaching ClickHouse, whose tables exist.
 *
 * @param opened - called before the first test.
 */
export function testPredictionsByTime(opened: () => Analytics): void {
  describe('predictions by time', () => {
    let analytics: Analytics;
    beforeAll(() => {
      analytics = opened();
    });

    async function select<T>(query: string): Promise<T[]> {
      const result = await analytics.client.query({ query, format: 'JSONEachRow' });
      return await result.json<T>();
    }

    const times = [1, 3, 2].map((second) => `2030-01-01T00:00:0${second}.000Z`);
    const newest = (): Promise<{ event_id: string; score: number }[]> =>
      select("SELECT event_id, score FROM millrace.predictions_by_time WHERE pipeline = 'by-time' LIMIT 10");
    const rows = times.map((event_time, score) =>
      predictionRow({
        pipeline: 'by-time',
        event_id: `time-${score}`,
        prediction_id: `0199a0b0-0000-5000-8000-00000000100${score}`,
        event_time,
        score,
      }),
    );

    test('come newest first, each once, however often and together they were inserted', async () => {
      const later = rows.map((row) => ({ ...row, score: 9, predicted_at: '2031-01-01T00:00:00.000Z' }));
      await insertRows(analytics.client, 'predictions', [...rows, ...later], 'by-time-1');
      await insertRows(analytics.client, 'predictions', later, 'by-time-2');
      const expected = [1, 2, 0].map((score) => ({ event_id: `time-${score}`, score }));
      expect(await newest()).toEqual(expected);
      await analytics.client.command({ query: 'OPTIMIZE TABLE millrace.predictions_by_time_storage FINAL' });
      expect(await newest()).toEqual(expected);
    });

    test('have the rows of an insert that reached only the table, when it is repeated', async () => {
      const [first] = rows;
      const row = { ...first, event_id: 'half', prediction_id: '0199a0b0-0000-5000-8000-000000001009' };
      const insert = (): Promise<void> =>
        insertRows(analytics.client, 'predictions', [predictionRow(row)], 'half');
      const view = 'millrace.predictions_to_time';
      await analytics.client.command({ query: `DROP VIEW ${view}` });
      await analytics.client.command({
        query: `CREATE MATERIALIZED VIEW ${view} TO millrace.predictions_by_time_storage AS
          SELECT throwIf(true) AS score FROM millrace.predictions_storage`,
      });
      await expect(insert()).rejects.toThrow('throwIf');
      await analytics.client.command({ query: `DROP VIEW ${view}` });
      await migrate(analytics.client);
      await insert();
      expect((await newest()).map(({ event_id }) => event_id).toSorted()).toEqual([
        'half',
        'time-0',
        'time-1',
        'time-2',
      ]);
      await analytics.client.command({
        query: "DELETE FROM millrace.predictions_storage WHERE event_id = 'half'",
      });
    });

    test('take over the rows of before, in parts', async () => {
      await analytics.client.command({ query: 'TRUNCATE TABLE millrace.predictions_by_time_storage' });
      await fillByTime(analytics.client, 20_000);
      await fillByTime(analytics.client, 1_000_000);
      expect(await newest()).toHaveLength(3);
      const counts = await select<{ n: string }>(
        `SELECT toString(uniqExact(event_time, prediction_id)) AS n FROM millrace.predictions
          UNION ALL SELECT toString(count()) AS n FROM millrace.predictions_by_time`,
      );
      expect(counts[0]).toEqual(counts[1]);
    });

    test('read only what is asked for', async () => {
      const plan = async (query: string): Promise<string> =>
        (
          await analytics.client.query({ query: `EXPLAIN indexes = 1 ${query}`, format: 'TabSeparated' })
        ).text();
      const view = 'millrace.predictions_by_time';
      expect(await plan(`SELECT event_id FROM ${view} LIMIT 5`)).toContain('InOrder');
      expect(await plan(`SELECT count() FROM ${view} WHERE event_time > '2299-12-31 23:59:59'`)).toMatch(
        /Skip[^]*Name: by_event_time[^]*Granules: 0\/\d/,
      );
    });
  });
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAnalytics, type Analytics } from '../client.js';
import { insertBatch, insertRows } from '../insert.js';
import { migrate } from '../migrate.js';
import { findPredictions, ping } from '../queries.js';
import { batchOfRows } from './batch-of-rows.js';
import { testMigrations } from './migrate.test-suite.js';
import { testPredictionsByTime } from './predictions-by-time.test-suite.js';
import { deadLetterRow, outcomeRow, predictionRow, resolutionRow } from './rows.js';

const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.constantFrom('', '\0', '\\N', '\t\\\n\r', '\ufeffx', 'x'.repeat(3_000)),
);
const anyTime = fc
  .integer({ min: Date.UTC(1900, 0, 1), max: Date.UTC(2299, 11, 31) })
  .map((time) => new Date(time).toISOString());
const anyDouble = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
const anyRow = fc.record({
  event_id: anyText,
  prediction_id: fc.uuid(),
  pipeline: anyText,
  event_time: anyTime,
  predicted_at: anyTime,
  score: anyDouble,
  label: fc.option(anyText),
  features: anyText,
  partition: fc.integer(),
  offset: fc.maxSafeInteger(),
  schema_id: fc.option(fc.integer()),
  latency_ms: anyDouble,
  model_event: fc.maxSafeInteger(),
  model_event_at: fc.option(anyTime),
  outputs: anyText,
});

/**
 * Tests for every kind of ClickHouse connection, called by one test file for each.
 *
 * @param open - its database `millrace` is dropped first.
 */
export function testAnalytics(open: (dataDir: string) => Promise<Analytics>): void {
  let folder: string;
  let analytics: Analytics;

  async function select<T>(query: string, query_params: Record<string, unknown> = {}): Promise<T[]> {
    const result = await analytics.client.query({ query, query_params, format: 'JSONEachRow' });
    return await result.json<T>();
  }

  async function countTokenRows(): Promise<unknown> {
    return await select(
      "SELECT toString(count()) AS n FROM millrace.predictions_storage WHERE event_id LIKE 'token-%'",
    );
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-analytics-'));
    analytics = await open(join(folder, 'made', 'when', 'missing'));
    await analytics.client.command({ query: 'DROP DATABASE IF EXISTS millrace' });
    await migrate(analytics.client);
  });

  afterAll(async () => {
    await analytics.close();
    await rm(folder, { recursive: true, force: true });
  });

  testMigrations(() => ({ analytics, folder }));

  describe('predictions', () => {
    test('come back as they were inserted, whatever characters the id has', async () => {
      const row = predictionRow({
        event_id: `it's "a" \\ {b} ; é\n\u0000 --`,
        offset: Number.MAX_SAFE_INTEGER,
        label: null,
        schema_id: null,
        features: '{"a":"x; DROP TABLE t;\\u0000"}',
      });
      await insertRows(analytics.client, 'predictions', [row], "weird'token\\");
      expect(await findPredictions(analytics.client, [row.event_id, "' OR 1=1 --"])).toEqual([row]);
    });

    test('in a batch come back as those that were inserted one by one', async () => {
      const rows = fc.sample(anyRow, 500).map((row) => ({ ...predictionRow(), ...row }));
      const store = {
        rows: (source: string) =>
          insertRows(
            analytics.client,
            'predictions',
            rows.map((row) => ({ ...row, source })),
            source,
          ),
        batch: (source: string) => {
          const batch = batchOfRows(
            analytics,
            rows.map((row) => ({ ...row, source })),
          );
          return insertBatch(analytics, 'predictions', batch, source);
        },
      };
      const stored = async (source: string) => {
        const query = `SELECT * EXCEPT source FROM millrace.predictions_storage WHERE source = '${source}' ORDER BY ALL`;
        return await select(query);
      };
      await store.rows('rows');
      await store.batch('batch');
      // Its token is known.
      await store.batch('batch');
      const expected = await stored('rows');
      expect(expected).toHaveLength(500);
      expect(await stored('batch')).toEqual(expected);
      await analytics.client.command({ query: 'TRUNCATE TABLE millrace.predictions_storage' });
    });

    test('keep the first row of a prediction, in whatever order rows arrive', async () => {
      const rows = [3, 1, 2].map((second) =>
        predictionRow({
          event_id: 'first-wins',
          predicted_at: `2026-01-31T12:00:0${second}.000Z`,
          score: second,
        }),
      );
      for (const [index, row] of rows.entries())
        await insertRows(analytics.client, 'predictions', [row], `first-${index}`);
      expect(await findPredictions(analytics.client, ['first-wins'])).toEqual([rows[1]]);
      await analytics.client.command({ query: 'OPTIMIZE TABLE millrace.predictions_storage FINAL' });
      expect(await findPredictions(analytics.client, ['first-wins'])).toEqual([rows[1]]);
      expect(
        await select("SELECT score FROM millrace.predictions_storage WHERE event_id = 'first-wins'"),
      ).toHaveLength(1);
    });

    test('of a shadow are no answers, and give way to an answer with their id', async () => {
      const shadow = predictionRow({ event_id: 'shadowed', role: 'shadow', score: 1 });
      const later = { role: 'champion', score: 2, predicted_at: '2026-02-01T12:00:00.000Z' } as const;
      await insertRows(analytics.client, 'predictions', [shadow], 'shadow');
      expect(await findPredictions(analytics.client, ['shadowed'])).toEqual([]);
      await insertRows(analytics.client, 'predictions', [{ ...shadow, ...later }], 'answer');
      expect(await findPredictions(analytics.client, ['shadowed'])).toEqual([{ ...shadow, ...later }]);
    });

    test('have exactly the documented columns', async () => {
      const columns = await select<{ name: string }>('DESCRIBE TABLE millrace.predictions');
      expect(columns.map((column) => column.name).join(', ')).toBe(
        'event_id, prediction_id, pipeline, model, model_version, model_digest, event_time, predicted_at, score, label, ' +
          'features, source, topic, partition, offset, schema_id, latency_ms, role, model_event, model_event_at, outputs',
      );
    });

    test('are found through the view by the primary key', async () => {
      const rows = Array.from({ length: 50_000 }, (_, index) => predictionRow({ event_id: `many-${index}` }));
      await insertRows(analytics.client, 'predictions', rows, 'many');
      const result = await analytics.client.query({
        query: 'EXPLAIN indexes = 1 SELECT * FROM millrace.predictions WHERE event_id IN {ids:Array(String)}',
        query_params: { ids: ['many-7'] },
        format: 'TabSeparated',
      });
      const plan = await result.text();
      expect(plan).toMatch(/PrimaryKey\s+Keys:\s+event_id/);
      const [, read, all] = /Granules: (\d+)\/(\d+)/.exec(plan) ?? [];
      expect(Number(all)).toBeGreaterThan(5);
      expect(Number(read)).toBeLessThanOrEqual(2);
    });

    test('a token that was used is skipped, another one is not', async () => {
      await insertRows(
        analytics.client,
        'predictions',
        [predictionRow({ event_id: 'token-1' })],
        'same token',
      );
      await insertRows(
        analytics.client,
        'predictions',
        [predictionRow({ event_id: 'token-2' })],
        'same token',
      );
      const batch = batchOfRows(analytics, [predictionRow({ event_id: 'token-3' })]);
      await insertBatch(analytics, 'predictions', batch, 'same token');
      expect(await countTokenRows()).toEqual([{ n: '1' }]);
      await insertRows(
        analytics.client,
        'predictions',
        [predictionRow({ event_id: 'token-1' })],
        'another token',
      );
      expect(await countTokenRows()).toEqual([{ n: '2' }]);
    });

    test.each([
      ['NaN', { score: Number.NaN }],
      ['an infinite number', { latency_ms: Infinity }],
      ['null where a value must be', { model: null }],
      ['an unknown column', { extra: 1 }],
      ['a time that is none', { event_time: 'yesterday' }],
      ['an id that is no UUID', { prediction_id: 'x' }],
      ['a fraction as offset', { offset: 1.5 }],
    ])('refuse %s for good', async (_, set) => {
      const row = Object.assign(predictionRow({ event_id: 'bad' }), set);
      const inserted = insertRows(analytics.client, 'predictions', [row], `bad-${_}`);
      await expect(inserted).rejects.toMatchObject({ code: 'CLICKHOUSE_BAD_ROWS', retriable: false });
      expect(await findPredictions(analytics.client, ['bad'])).toEqual([]);
    });
  });

  testPredictionsByTime(() => analytics);

  test('dead letters keep every byte', async () => {
    const value = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256));
    const rows = [
      deadLetterRow({ offset: 1, value, key: Buffer.from([0xff, 0]) }),
      deadLetterRow({ offset: 2, value: null, schema_id: 7, event_id: 'e' }),
      deadLetterRow({ offset: 3, value: Buffer.alloc(0) }),
    ];
    await insertRows(analytics.client, 'dead_letters', rows, 'dead-1');
    await insertRows(analytics.client, 'dead_letters', rows, 'dead-2');
    expect(
      await select(
        'SELECT hex(key) AS k, hex(value) AS v, schema_id, event_id FROM millrace.dead_letters ORDER BY offset',
      ),
    ).toEqual([
      { k: 'FF00', v: value.toString('hex').toUpperCase(), schema_id: null, event_id: null },
      { k: null, v: null, schema_id: 7, event_id: 'e' },
      { k: null, v: '', schema_id: null, event_id: null },
    ]);
  });

  test('dead letters say what became of them, by the last resolution', async () => {
    const ids = [1, 2].map((n) => `0199a0b0-0000-5000-8000-00000000010${n}`);
    const deadLetters = ids.map((dead_letter_id, index) =>
      deadLetterRow({ dead_letter_id, topic: 'resolved', offset: index }),
    );
    await insertRows(analytics.client, 'dead_letters', deadLetters, 'resolved-letters');
    const [first] = ids;
    const resolutions = [
      resolutionRow({
        dead_letter_id: first,
        resolved_at: '2026-02-02T00:00:00.000Z',
        note: 'schema mended',
      }),
      resolutionRow({ dead_letter_id: first, resolution: 'discarded' }),
    ];
    await insertRows(analytics.client, 'dead_letter_resolutions', resolutions, 'resolutions');
    const query = `SELECT resolution, resolved_at FROM millrace.dead_letters WHERE topic = 'resolved' ORDER BY offset`;
    expect(await select(query)).toEqual([
      { resolution: 'redriven', resolved_at: '2026-02-02 00:00:00.000' },
      { resolution: null, resolved_at: null },
    ]);
    expect(
      await select(
        'SELECT toString(dead_letter_id) AS id, resolution, note FROM millrace.dead_letter_resolutions',
      ),
    ).toEqual([{ id: first, resolution: 'redriven', note: 'schema mended' }]);
  });

  test('the view of dead letters keeps its columns, and new ones come last', async () => {
    const columns = await select<{ name: string }>('DESCRIBE TABLE millrace.dead_letters');
    expect(columns.map((column) => column.name).join(', ')).toBe(
      'dead_letter_id, pipeline, reason, detail, topic, partition, offset, schema_id, event_id, key, value, failed_at, ' +
        'resolution, resolved_at',
    );
  });

  test('of outcomes the latest observation counts', async () => {
    const correction = outcomeRow({ observed_at: '2026-03-01T00:00:00.000Z', outcome: 0 });
    await insertRows(analytics.client, 'outcomes', [correction], 'outcome-1');
    await insertRows(analytics.client, 'outcomes', [outcomeRow()], 'outcome-2');
    expect(await select('SELECT event_id, outcome FROM millrace.outcomes')).toEqual([
      { event_id: 'event-1', outcome: 0 },
    ]);
  });

  test.each([
    ['ISO text', '"2026-01-31T11:45:00Z"'],
    ['milliseconds', '1769859900000'],
  ])('ride_predictions reads the ride from its features, its start as %s', async (name, start) => {
    const features = `{"pickup_community_area":8,"dropoff_community_area":32,"trip_start_timestamp":${start},"fare":12.25,"trip_total":15,"trip_miles":2.5}`;
    const ride = predictionRow({
      event_id: `ride-${name}`,
      pipeline: 'taxi-trip-duration',
      score: 14.5,
      features,
    });
    await insertRows(analytics.client, 'predictions', [ride], `ride-${name}`);
    expect(
      await select('SELECT * FROM millrace.ride_predictions WHERE trip_id = {id:String}', {
        id: ride.event_id,
      }),
    ).toEqual([
      {
        trip_id: ride.event_id,
        pickup_community_area: 8,
        dropoff_community_area: 32,
        trip_start_timestamp: '2026-01-31 11:45:00.000',
        fare: 12.25,
        trip_total: 15,
        trip_miles: 2.5,
        predicted_duration: 14.5,
        created_at: '2026-01-31 12:00:00.123',
      },
    ]);
  });

  test('settings of one call do not reach the next', async () => {
    await analytics.client.query({
      query: 'SELECT 1',
      clickhouse_settings: { max_threads: 1, max_block_size: '1234' },
    });
    const changed = await select<{ name: string }>(
      "SELECT name FROM system.settings WHERE changed AND name IN ('max_block_size', 'max_threads')",
    );
    expect(changed).toEqual([]);
  });

  test('ping answers, and a server that is not there is retriable', async () => {
    await ping(analytics.client);
    const nowhere = createAnalytics({ url: 'http://127.0.0.1:1' });
    await expect(ping(nowhere.client)).rejects.toMatchObject({
      code: 'CLICKHOUSE_UNAVAILABLE',
      retriable: true,
    });
    await nowhere.close();
  });
}

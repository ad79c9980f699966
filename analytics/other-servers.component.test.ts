import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startClickHouseEndpoint } from '../embedded/clickhouse/endpoint.js';
import { Chdb } from '../embedded/clickhouse/chdb.js';
import type { RunningServer } from '../embedded/local-http.js';
import { type Analytics, createAnalytics } from './client.js';
import { insertBatch, insertRows } from './insert.js';
import { countAnswers, countFailures, findAnswers, findFailures } from './job-queries.js';
import { migrate } from './migrate.js';
import { findPredictions } from './queries.js';
import { batchOfRows } from './testing/batch-of-rows.js';
import { deadLetterRow, outcomeRow, predictionRow, resolutionRow } from './testing/rows.js';

/**
 * A server whose defaults are as far from the embedded engine's as a profile can make them, and whose tables
 * know no repeated insert. (The client sends what `ch_` names in its URL with each request that does not say
 * otherwise.)
 */
const defaults = {
  async_insert: '1',
  wait_for_async_insert: '0',
  insert_deduplicate: '0',
  date_time_input_format: 'basic',
  date_time_output_format: 'unix_timestamp',
  session_timezone: 'Asia/Tokyo',
  output_format_json_quote_64bit_integers: '1',
  output_format_json_quote_decimals: '1',
  input_format_null_as_default: '1',
  input_format_skip_unknown_fields: '1',
  format_tsv_null_representation: 'null',
  input_format_tsv_empty_as_default: '1',
  input_format_tsv_crlf_end_of_line: '1',
  join_use_nulls: '1',
  transform_null_in: '1',
  max_insert_block_size: '30',
  min_insert_block_size_rows: '1',
  min_insert_block_size_bytes: '1',
};

let folder: string;
let chdb: Chdb;
let endpoint: RunningServer;
let analytics: Analytics;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-other-servers-'));
  chdb = await Chdb.open(folder);
  endpoint = await startClickHouseEndpoint({ host: '127.0.0.1', port: 0, chdb });
  const query = Object.entries(defaults)
    .map(([name, value]) => `ch_${name}=${value}`)
    .join('&');
  analytics = createAnalytics({ url: `http://127.0.0.1:${endpoint.port}/?${query}` });
  await migrate(analytics.client);
  // Merges would collapse equal rows before they are counted.
  await analytics.client.command({ query: 'SYSTEM STOP MERGES' });
  for (const table of ['predictions', 'dead_letters', 'dead_letter_resolutions', 'outcomes', 'model_events'])
    await analytics.client.command({
      query: `ALTER TABLE millrace.${table}_storage MODIFY SETTING non_replicated_deduplication_window = 0`,
    });
});

afterAll(async () => {
  await analytics.close();
  await endpoint.stop();
  await chdb.close();
  await rm(folder, { recursive: true, force: true });
});

async function count(from: string): Promise<number> {
  const result = await analytics.client.query({
    query: `SELECT toUInt32(count()) AS count FROM millrace.${from}`,
    format: 'JSONEachRow',
  });
  const [row] = await result.json<{ count: number }>();
  return row?.count ?? 0;
}

test('applies migrations only once', async () => {
  expect(await migrate(analytics.client)).toEqual([]);
});

test('has one row for repeated inserts, even without deduplication', async () => {
  const rows = Array.from({ length: 100 }, (_, index) => predictionRow({ event_id: `again-${index}` }));
  for (const token of ['same', 'same', 'other']) {
    await insertRows(analytics.client, 'predictions', rows, token);
    await insertRows(analytics.client, 'dead_letters', [deadLetterRow()], token);
    await insertRows(analytics.client, 'dead_letter_resolutions', [resolutionRow()], token);
    await insertRows(analytics.client, 'outcomes', [outcomeRow()], token);
  }
  // Verifies that the server does not deduplicate.
  expect(await count('predictions_storage')).toBe(300);
  expect(await count('predictions')).toBe(100);
  for (const view of ['dead_letters', 'dead_letter_resolutions', 'outcomes']) {
    expect(await count(`${view}_storage`)).toBe(3);
    expect(await count(view)).toBe(1);
  }
});

test('returns rows unchanged with other defaults of formats, times and nulls', async () => {
  const row = predictionRow({
    event_id: 'as-it-was',
    event_time: '2026-01-31T23:59:59.999Z',
    offset: Number.MAX_SAFE_INTEGER,
    label: null,
    schema_id: null,
  });
  await insertRows(analytics.client, 'predictions', [row], 'as-it-was');
  expect(await findPredictions(analytics.client, ['as-it-was'])).toEqual([row]);
  const inBatch = { ...row, event_id: 'in-a-batch', label: 'null', features: '', outputs: '\r' };
  await insertBatch(analytics, 'predictions', batchOfRows(analytics, [inBatch]), 'in-a-batch');
  expect(await findPredictions(analytics.client, ['in-a-batch'])).toEqual([inBatch]);
});

test('rejects rows that do not fit', async () => {
  for (const wrong of [{ extra: 1 }, { event_time: 'yesterday' }, { model: null }]) {
    const row = Object.assign(predictionRow({ event_id: 'bad' }), wrong);
    const inserted = insertRows(analytics.client, 'predictions', [row], 'bad');
    await expect(inserted).rejects.toMatchObject({ code: 'CLICKHOUSE_BAD_ROWS' });
  }
});

test('counts and lists the results of a job', async () => {
  const range = { from: 'job-', to: 'job.' };
  const answer = predictionRow({ event_id: 'job-1', pipeline: 'credit-default' });
  const deadLetter = deadLetterRow({ event_id: 'job-2', topic: 'job', pipeline: 'credit-default' });
  for (const token of ['job', 'job again']) {
    await insertRows(analytics.client, 'predictions', [answer], token);
    await insertRows(analytics.client, 'dead_letters', [deadLetter], token);
  }
  expect(await countAnswers(analytics.client, range)).toBe(1);
  expect(await countFailures(analytics.client, 'credit-default', range)).toBe(1);
  expect(await findAnswers(analytics.client, range)).toEqual([
    {
      event_id: 'job-1',
      score: answer.score,
      label: answer.label,
      model: answer.model,
      model_version: answer.model_version,
      features: answer.features,
      outputs: answer.outputs,
    },
  ]);
  expect(await findFailures(analytics.client, 'credit-default', range)).toEqual([
    { event_id: 'job-2', reason: deadLetter.reason, detail: deadLetter.detail },
  ]);
});

import type { ClickHouseClient } from '@clickhouse/client';

/** Rows of one statement, which must end before a request's timeout and fit the memory of a query. */
const rowsPerStatement = 100_000;

const columns =
  'event_time, prediction_id, event_id, pipeline, model, model_version, role, predicted_at, score, label, latency_ms, version';

/**
 * Copies the predictions of earlier versions into `predictions_by_time`, in the order of their events. Run
 * again, it changes nothing. New predictions come through the materialized view, which must exist before.
 *
 * @throws the client's errors.
 */
export async function fillByTime(client: ClickHouseClient, rows = rowsPerStatement): Promise<void> {
  let after: string | undefined;
  for (;;) {
    const start = after === undefined ? 'true' : 'event_id > {after:String}';
    const params = after === undefined ? {} : { after };
    const result = await client.query({
      query: `SELECT event_id FROM millrace.predictions_storage WHERE ${start}
        ORDER BY event_id LIMIT 1 OFFSET {skipped:UInt32}`,
      query_params: { ...params, skipped: rows - 1 },
      format: 'JSONEachRow',
    });
    const [last] = await result.json<{ event_id: string }>();
    const end = last === undefined ? 'true' : 'event_id <= {upTo:String}';
    await client.command({
      query: `INSERT INTO millrace.predictions_by_time_storage (${columns})
        SELECT ${columns} FROM millrace.predictions_storage WHERE ${start} AND ${end}`,
      query_params: { ...params, ...(last === undefined ? {} : { upTo: last.event_id }) },
    });
    if (last === undefined) return;
    after = last.event_id;
  }
}

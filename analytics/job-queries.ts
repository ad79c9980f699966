import type { ClickHouseClient } from '@clickhouse/client';
import { translateError } from './errors.js';

/** Range of event ids in byte order, excluding the end. */
export interface EventIdRange {
  from: string;
  to: string;
}

/** The prediction that answers an event. */
export interface AnswerRow {
  event_id: string;
  score: number;
  label: string | null;
  model: string;
  model_version: string;
  /** The event's fields as a JSON object, in text. */
  features: string;
  /** All named outputs of the model as a JSON object, in text. */
  outputs: string;
}

/** Reason why an event has no prediction. */
export interface FailureRow {
  event_id: string;
  reason: string;
  detail: string;
}

const inRange = 'event_id >= {from:String} AND event_id < {to:String}';
/**
 * Uses the primary key. Reads the storage without FINAL, because duplicate rows do not change the results.
 */
const predictions = `millrace.predictions_storage WHERE ${inRange} AND role != 'shadow'`;
const failures = `millrace.dead_letters WHERE ${inRange} AND pipeline = {pipeline:String}
  AND event_id NOT IN (SELECT event_id FROM ${predictions})`;

/** Counts the events of a range with a prediction. @throws {MillraceError} as {@link translateError}. */
export async function countAnswers(client: ClickHouseClient, range: EventIdRange): Promise<number> {
  const query = `SELECT toUInt32(uniqExact(event_id)) AS count FROM ${predictions}`;
  const [row] = await select<{ count: number }>(client, query, { ...range });
  return row?.count ?? 0;
}

/**
 * Counts the events of a range with a dead letter but no prediction. @throws {MillraceError} as
 * {@link translateError}.
 */
export async function countFailures(
  client: ClickHouseClient,
  pipeline: string,
  range: EventIdRange,
): Promise<number> {
  const query = `SELECT toUInt32(uniqExact(event_id)) AS count FROM ${failures}`;
  const [row] = await select<{ count: number }>(client, query, { ...range, pipeline });
  return row?.count ?? 0;
}

/**
 * Returns the first prediction of each event of a range.
 *
 * @param withOutputs - whether `outputs`, which may be large, is read; `{}` otherwise. Default true.
 * @throws {MillraceError} as {@link translateError}.
 */
export function findAnswers(
  client: ClickHouseClient,
  range: EventIdRange,
  withOutputs = true,
): Promise<AnswerRow[]> {
  const outputs = withOutputs ? 'outputs' : `'{}'`;
  const query = `SELECT event_id, first.1 AS score, first.2 AS label, first.3 AS model, first.4 AS model_version, first.5 AS features,
      first.6 AS outputs FROM (
    SELECT event_id, argMin((score, label, model, model_version, features, ${outputs}), predicted_at) AS first
    FROM ${predictions} GROUP BY event_id)`;
  return select<AnswerRow>(client, query, { ...range });
}

/**
 * Returns a dead letter of each event of a range without a prediction. @throws {MillraceError} as
 * {@link translateError}.
 */
export function findFailures(
  client: ClickHouseClient,
  pipeline: string,
  range: EventIdRange,
): Promise<FailureRow[]> {
  const query = `SELECT assumeNotNull(event_id) AS event_id, reason, detail FROM ${failures} LIMIT 1 BY event_id`;
  return select<FailureRow>(client, query, { ...range, pipeline });
}

async function select<Row>(
  client: ClickHouseClient,
  query: string,
  query_params: Record<string, string>,
): Promise<Row[]> {
  try {
    const result = await client.query({ query, query_params, format: 'JSONEachRow' });
    return await result.json<Row>();
  } catch (error) {
    throw translateError(error, 'look up what became of a job’s rows');
  }
}

import type { ClickHouseClient } from '@clickhouse/client';
import { translateError } from './errors.js';
import type { PredictionRow } from './rows.js';

/**
 * Ids are sent in the request URL, limited to 1 MB. An id has up to 256 characters, each up to 12 bytes
 * encoded.
 */
export const idsPerQuery = 250;

/**
 * Returns the answers of some events, unordered and without shadow predictions. Uses the primary key.
 *
 * @param signal - aborts the query.
 * @throws {MillraceError} as {@link translateError}.
 */
export async function findPredictions(
  client: ClickHouseClient,
  eventIds: readonly string[],
  signal?: AbortSignal,
): Promise<PredictionRow[]> {
  const rows: PredictionRow[] = [];
  try {
    for (let from = 0; from < eventIds.length; from += idsPerQuery) {
      const result = await client.query({
        query: `SELECT * FROM millrace.predictions WHERE event_id IN {event_ids:Array(String)} AND role != 'shadow'
          SETTINGS output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'`,
        query_params: { event_ids: eventIds.slice(from, from + idsPerQuery) },
        format: 'JSONEachRow',
        ...(signal === undefined ? {} : { abort_signal: signal }),
      });
      rows.push(...(await result.json<PredictionRow>()));
    }
    return rows;
  } catch (error) {
    throw translateError(error, 'look predictions up');
  }
}

/** Reason why an event has no prediction. */
export interface FoundDeadLetter {
  pipeline: string;
  reason: string;
  detail: string;
}

/**
 * Returns the dead letters of an event that were not redriven, newest first.
 *
 * @throws {MillraceError} as {@link translateError}.
 */
export async function findDeadLetters(client: ClickHouseClient, eventId: string): Promise<FoundDeadLetter[]> {
  try {
    const result = await client.query({
      query: `SELECT pipeline, reason, detail FROM millrace.dead_letters
        WHERE event_id = {event_id:String} AND ifNull(resolution, '') != 'redriven' ORDER BY failed_at DESC LIMIT 100`,
      query_params: { event_id: eventId },
      format: 'JSONEachRow',
    });
    return await result.json<FoundDeadLetter>();
  } catch (error) {
    throw translateError(error, 'look dead letters up');
  }
}

/**
 * Resolves if ClickHouse answers a query.
 *
 * @throws {MillraceError} as {@link translateError}.
 */
export async function ping(client: ClickHouseClient): Promise<void> {
  const result = await client.ping({ select: true });
  if (!result.success) throw translateError(result.error, 'reach ClickHouse');
}

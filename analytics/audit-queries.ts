import type { ClickHouseClient } from '@clickhouse/client';
import { translateError } from './errors.js';

/**
 * Size of the compared blocks of offsets. Complete blocks are verified by counting, without reading the log.
 */
export const blockSize = 65_536;

/** Kind of a row. */
export type RowKind = 'answer' | 'shadow' | 'dead letter' | 'outcome' | 'model_event';

/** Range of offsets of a partition, from `from` to `to`, exclusive. */
export interface OffsetRange {
  partition: number;
  from: number;
  to: number;
}

/** Row counts of one block of offsets. Block 2 starts at 2 × {@link blockSize}. */
export interface BlockRows {
  partition: number;
  block: number;
  /** Offsets with a row of any kind except shadow. */
  covered: number;
  /** Rows of any kind except shadow. More than `covered` if an offset has several. */
  rows: number;
  shadows: number;
  /** Offsets with a shadow prediction. */
  shadowed: number;
}

/** An offset with more than one row, or with conflicting rows. */
export interface CrowdedOffset {
  partition: number;
  offset: number;
  answers: number;
  deadLetters: number;
  shadows: number;
  others: number;
}

/** Subqueries on the documented views, by the offset of the source record. */
const places: Record<'events' | 'outcomes' | 'models', string> = {
  events: `SELECT partition, offset, if(role = 'shadow', 'shadow', 'answer') AS kind FROM millrace.predictions WHERE topic = {topic:String}
    UNION ALL SELECT partition, offset, 'dead letter' AS kind FROM millrace.dead_letters WHERE topic = {topic:String}`,
  outcomes: `SELECT partition, offset, 'outcome' AS kind FROM millrace.outcomes WHERE topic = {topic:String}
    UNION ALL SELECT partition, offset, 'dead letter' AS kind FROM millrace.dead_letters WHERE topic = {topic:String}`,
  models: `SELECT toInt32(0) AS partition, model_event AS offset, 'model_event' AS kind FROM millrace.model_events`,
};

export type PlacesOf = keyof typeof places;

/** Limits threads and memory, to give priority to the live system. */
const gently = 'SETTINGS max_threads = 2, max_memory_usage = 2000000000';

const inRange =
  'offset >= {froms:Array(Int64)}[partition + 1] AND offset < {tos:Array(Int64)}[partition + 1]';

/** Read-only queries for rows by offset. Each @throws MillraceError as {@link translateError}. */
export class AuditQueries {
  readonly #client: ClickHouseClient;

  constructor(client: ClickHouseClient) {
    this.#client = client;
  }

  /** Returns the row counts of each block with rows in the ranges. */
  blocks(of: PlacesOf, topic: string, ranges: readonly OffsetRange[]): Promise<BlockRows[]> {
    const query = `SELECT partition, toUInt32(intDiv(offset, ${blockSize})) AS block,
        toUInt32(groupBitmapIf(toUInt32(offset % ${blockSize}), kind != 'shadow')) AS covered,
        toUInt32(countIf(kind != 'shadow')) AS rows,
        toUInt32(countIf(kind = 'shadow')) AS shadows,
        toUInt32(groupBitmapIf(toUInt32(offset % ${blockSize}), kind = 'shadow')) AS shadowed
      FROM (${places[of]}) WHERE ${inRange}
      GROUP BY partition, block ORDER BY partition, block ${gently}`;
    return this.#rows(query, { topic, ...bounds(ranges) });
  }

  /** Returns the offsets in a range with rows of some kinds, ascending. */
  async offsets(
    of: PlacesOf,
    topic: string,
    range: OffsetRange,
    kinds: readonly RowKind[],
  ): Promise<number[]> {
    const query = `SELECT toFloat64(offset) AS at FROM (${places[of]})
      WHERE partition = {partition:Int32} AND offset >= {from:Int64} AND offset < {to:Int64} AND kind IN {kinds:Array(String)}
      GROUP BY offset ORDER BY offset ${gently}`;
    const rows = await this.#rows<{ at: number }>(query, { topic, ...range, kinds });
    return rows.map(({ at }) => at);
  }

  /** Returns the first offsets in a range with too many rows. */
  crowded(of: PlacesOf, topic: string, range: OffsetRange, limit: number): Promise<CrowdedOffset[]> {
    const query = `SELECT toInt32({partition:Int32}) AS partition, toFloat64(at) AS offset, answers, deadLetters, shadows, others FROM (
        SELECT offset AS at, toUInt32(countIf(kind = 'answer')) AS answers, toUInt32(countIf(kind = 'dead letter')) AS deadLetters,
          toUInt32(countIf(kind = 'shadow')) AS shadows, toUInt32(countIf(kind IN ('outcome', 'model_event'))) AS others
        FROM (${places[of]})
        WHERE partition = {partition:Int32} AND offset >= {from:Int64} AND offset < {to:Int64}
        GROUP BY offset)
      WHERE answers + deadLetters + others > 1 OR shadows > 1 ORDER BY at LIMIT {limit:UInt32} ${gently}`;
    return this.#rows(query, { topic, ...range, limit });
  }

  /** Returns the event ids of predictions and dead letters by offset. */
  async eventIds(topic: string, partition: number, offsets: readonly number[]): Promise<Map<number, string>> {
    const query = `SELECT toFloat64(at) AS offset, any(id) AS event_id FROM (
        SELECT offset AS at, event_id AS id FROM millrace.predictions WHERE topic = {topic:String} AND partition = {partition:Int32} AND offset IN {offsets:Array(Int64)}
        UNION ALL SELECT offset AS at, ifNull(event_id, '') AS id FROM millrace.dead_letters WHERE topic = {topic:String} AND partition = {partition:Int32} AND offset IN {offsets:Array(Int64)}
      ) GROUP BY at ${gently}`;
    const rows = await this.#rows<{ offset: number; event_id: string }>(query, { topic, partition, offsets });
    return new Map(rows.map(({ offset, event_id }) => [offset, event_id]));
  }

  /** Returns the answered events, with the positions of their records as `topic/partition/offset`. */
  async answered(pipeline: string, eventIds: readonly string[]): Promise<Map<string, Set<string>>> {
    const query = `SELECT event_id, concat(topic, '/', toString(partition), '/', toString(offset)) AS place
      FROM millrace.predictions WHERE event_id IN {some:Array(String)} AND pipeline = {pipeline:String} AND role != 'shadow' ${gently}`;
    const byEvent = new Map<string, Set<string>>();
    const rows = await this.#among<{ event_id: string; place: string }>(query, eventIds, { pipeline });
    for (const { event_id: id, place } of rows) byEvent.set(id, (byEvent.get(id) ?? new Set()).add(place));
    return byEvent;
  }

  /** Returns the predictions that have a row. @param ids - prediction ids and their event ids. */
  async predictions(ids: ReadonlyMap<string, string>): Promise<Set<string>> {
    return this.#ids(
      `SELECT toString(prediction_id) AS id FROM millrace.predictions WHERE event_id IN {some:Array(String)} ${gently}`,
      [...new Set(ids.values())],
      {},
    );
  }

  /** Returns the events with an outcome in a pipeline. */
  async outcomes(pipeline: string, eventIds: readonly string[]): Promise<Set<string>> {
    return this.#ids(
      `SELECT DISTINCT event_id AS id FROM millrace.outcomes WHERE event_id IN {some:Array(String)} AND pipeline = {pipeline:String} ${gently}`,
      eventIds,
      { pipeline },
    );
  }

  /** Returns the offsets with a dead letter. */
  async deadLetters(topic: string, partition: number, offsets: readonly number[]): Promise<Set<number>> {
    const query = `SELECT DISTINCT toFloat64(offset) AS at FROM millrace.dead_letters_storage
      WHERE topic = {topic:String} AND partition = {partition:Int32} AND offset IN {offsets:Array(Int64)} ${gently}`;
    const rows = await this.#rows<{ at: number }>(query, { topic, partition, offsets });
    return new Set(rows.map(({ at }) => at));
  }

  /** Returns the ids of the dead letters with a resolution. */
  async resolutions(ids: readonly string[]): Promise<Set<string>> {
    return this.#ids(
      `SELECT DISTINCT toString(dead_letter_id) AS id FROM millrace.dead_letter_resolutions WHERE dead_letter_id IN {some:Array(UUID)} ${gently}`,
      ids,
      {},
    );
  }

  /** Yields the values of the dead letters of a topic. */
  async *deadLetterValues(topic: string): AsyncGenerator<Buffer> {
    let after = { partition: -1, offset: -1 };
    for (;;) {
      const query = `SELECT partition, toFloat64(offset) AS at, base64Encode(ifNull(value, '')) AS value FROM millrace.dead_letters_storage
        WHERE topic = {topic:String} AND (partition, offset) > ({partition:Int32}, {offset:Int64})
        ORDER BY partition, offset LIMIT 500 ${gently}`;
      const rows = await this.#rows<{ partition: number; at: number; value: string }>(query, {
        topic,
        ...after,
      });
      for (const { value } of rows) yield Buffer.from(value, 'base64');
      const last = rows.at(-1);
      if (last === undefined) return;
      after = { partition: last.partition, offset: last.at };
    }
  }

  async #ids(
    query: string,
    ids: readonly string[],
    parameters: Record<string, unknown>,
  ): Promise<Set<string>> {
    const rows = await this.#among<{ id: string }>(query, ids, parameters);
    return new Set(rows.map(({ id }) => id));
  }

  /** Splits ids into chunks, since they are sent in the request URL. */
  async #among<T>(query: string, ids: readonly string[], parameters: Record<string, unknown>): Promise<T[]> {
    const rows: T[] = [];
    for (let from = 0; from < ids.length; from += 250)
      rows.push(...(await this.#rows<T>(query, { ...parameters, some: ids.slice(from, from + 250) })));
    return rows;
  }

  async #rows<T>(query: string, parameters: Record<string, unknown>): Promise<T[]> {
    try {
      const result = await this.#client.query({ query, query_params: parameters, format: 'JSONEachRow' });
      return await result.json<T>();
    } catch (error) {
      throw translateError(error, 'compare the rows with the log');
    }
  }
}

/** Converts bounds to arrays indexed by partition. Missing partitions have empty ranges. */
function bounds(ranges: readonly OffsetRange[]): { froms: number[]; tos: number[] } {
  const count = Math.max(0, ...ranges.map(({ partition }) => partition + 1));
  const froms = Array.from({ length: count }, () => 0);
  const tos = Array.from({ length: count }, () => 0);
  for (const { partition, from, to } of ranges) {
    froms[partition] = from;
    tos[partition] = to;
  }
  return { froms, tos };
}

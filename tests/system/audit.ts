import { createHash } from 'node:crypto';
import { vi } from 'vitest';
import type { Load } from './load.js';
import { placeOf, readLog } from './log-audit.js';

export interface AuditedSystem {
  http: string;
  kafka: string[];
  schema_registry: string;
  clickhouse: string;
}

/** Counts, and all problems: empty when nothing was lost or doubled. */
export interface AuditReport {
  rows: number;
  eventRecords: number;
  /** Event records beyond one per id: a client sent the event again, as its first answer was lost. */
  repeatedRecords: number;
  problems: string[];
}

interface Row {
  event_id: string;
  prediction_id: string;
  score: number;
  features: string;
}

/** Runs a query on a ClickHouse endpoint. */
export async function sql<T>(clickhouse: string, query: string): Promise<T[]> {
  // Comparing 100,000 rows may take longer than a server keeps an idle connection.
  const headers = { connection: 'close' };
  const response = await fetch(clickhouse, { method: 'POST', headers, body: `${query} FORMAT JSONEachRow` });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as T]));
}

/**
 * Compares the answers to clients with the results: on the log one prediction for each event record, in the
 * view one row for each acknowledged event, with the score that `predict` now gives for the same fields.
 */
export async function audit(load: Load, system: AuditedSystem, timeoutMs = 60_000): Promise<AuditReport> {
  const reference = await load.predictAll();
  const problems: string[] = [];
  const expected = new Map(
    load.clients.map((client, index) => [fingerprint(client), reference[index]?.score ?? Number.NaN]),
  );

  const lastIds = load.clients.map((_, index) => `reference-${index}`);
  const { events, predictions } = await readLog(system, lastIds, timeoutMs);
  const onTheLog = new Set(events.values());
  for (const id of load.accepted.keys()) if (!onTheLog.has(id)) problems.push(`${id} is not on the log`);
  const predictedPlaces = new Set<string>();
  for (const prediction of predictions) {
    const place = placeOf(prediction);
    if (events.get(place) !== prediction.event_id)
      problems.push(`a prediction of ${place} is of no such event`);
    if (predictedPlaces.has(place)) problems.push(`the record at ${place} was predicted twice`);
    predictedPlaces.add(place);
  }
  for (const place of events.keys())
    if (!predictedPlaces.has(place)) problems.push(`the record at ${place} was not predicted`);

  const rows = await readRows(system, onTheLog.size, timeoutMs);
  const seen = new Map<string, Row>();
  let strangers = 0;
  for (const row of rows) {
    const { event_id: id, score, features } = row;
    if (seen.has(id)) problems.push(`${id} has two rows`);
    seen.set(id, row);
    const hash = fingerprint(JSON.parse(features) as object);
    if (expected.get(hash) !== score)
      problems.push(`${id} has the score ${score}, not ${expected.get(hash)}`);
    const client = load.clients[load.accepted.get(id) ?? load.chosen.get(id) ?? -1];
    if (client === undefined) strangers++;
    else if (fingerprint(client) !== hash) problems.push(`${id} has another event's fields`);
  }
  for (const id of load.accepted.keys()) if (!seen.has(id)) problems.push(`${id} has no row`);
  for (const [id, { prediction_id, score }] of load.predicted) {
    const row = seen.get(id);
    if (row?.prediction_id !== prediction_id || row.score !== score)
      problems.push(`${id} was answered ${score} (${prediction_id}), the row says ${row?.score}`);
  }
  if (strangers > load.unanswered)
    problems.push(`${strangers} rows have an id that was never sent, at most ${load.unanswered} can`);
  const letters = await sql(system.clickhouse, 'SELECT reason, detail FROM millrace.dead_letters LIMIT 10');
  for (const letter of letters) problems.push(`a dead letter: ${JSON.stringify(letter)}`);
  return {
    rows: rows.length,
    eventRecords: events.size,
    repeatedRecords: events.size - onTheLog.size,
    problems: problems.slice(0, 20),
  };
}

/** Waits for as many rows as there are different events on the log; surplus rows would already be there. */
async function readRows({ clickhouse }: AuditedSystem, count: number, timeoutMs: number): Promise<Row[]> {
  const parts = 8;
  await vi
    .waitFor(
      async () => {
        const [row] = await sql<{ rows: number }>(
          clickhouse,
          'SELECT toUInt32(count()) AS rows FROM millrace.predictions',
        );
        if ((row?.rows ?? 0) < count) throw new Error(`${row?.rows} of ${count} rows`);
      },
      { timeout: timeoutMs, interval: 100 },
    )
    // The comparison names the missing rows.
    .catch(() => undefined);
  const read = (part: number): Promise<Row[]> =>
    sql<Row>(
      clickhouse,
      `SELECT event_id, prediction_id, score, features FROM millrace.predictions WHERE cityHash64(event_id) % ${parts} = ${part}`,
    );
  const rows: Row[] = [];
  for (let part = 0; part < parts; part++) rows.push(...(await read(part)));
  return rows;
}

/** Returns a name for an event's fields, whatever their order. */
function fingerprint(fields: object): string {
  const sorted = Object.entries(fields).toSorted(([a], [b]) => a.localeCompare(b));
  return createHash('sha1').update(JSON.stringify(sorted)).digest('base64');
}

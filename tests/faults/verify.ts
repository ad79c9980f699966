import { groupBy } from './group-by.js';
import type { Evidence, PredictionRecord } from './evidence.js';
import { fingerprint, type Ledger, type SentEvent } from './ledger.js';

/** All violations by kind: empty lists when the guarantees hold. */
export interface Verdict {
  /** Accepted events, or events on the log, without an outcome. */
  losses: string[];
  /** Outcomes beyond the guaranteed one. */
  duplicates: string[];
  /** Scores other than the reference, fields or reasons other than those of the event. */
  wrong: string[];
  /** Events of one key out of order. */
  disorder: string[];
  /** Outcomes of unknown events. */
  strangers: string[];
}

/** The expected score of an event. */
export type ReferenceScore = (pipeline: string, fields: object) => number;

/**
 * Compares the answers to clients with the results.
 *
 * - Each accepted event is on the log, and has one row: in `predictions`, or in `dead_letters` if it is
 *   invalid.
 * - Each record of an event has one outcome among committed records: a prediction or a dead letter. An id
 *   that was sent several times, and is on the log several times, has as many predictions there, all with one
 *   prediction id, and one row. A dead letter belongs to a record, not to an id: there are as many rows as
 *   records.
 * - Predictions of a key are in the order of its events; its events are in the order in which they were first
 *   sent.
 * - There are no results of unknown events.
 */
export function verify(ledger: Ledger, evidence: Evidence, reference: ReferenceScore): Verdict {
  const verdict: Verdict = { losses: [], duplicates: [], wrong: [], disorder: [], strangers: [] };
  const sent = withStrangers(ledger, evidence, verdict);
  verifyLog(sent, evidence, reference, verdict);
  verifyRows(sent, evidence, reference, verdict);
  verifyOrder(ledger, evidence, verdict);
  verifyAnswers(ledger, evidence, verdict);
  return verdict;
}

/** Maps events by id. Events without one, from unanswered requests, are matched by their fields. */
function withStrangers(
  { events, unanswered }: Ledger,
  { predictionRows }: Evidence,
  verdict: Verdict,
): Map<string, SentEvent> {
  const all = new Map(events);
  const left = new Map(unanswered);
  for (const { event_id: id, pipeline, features } of predictionRows) {
    if (all.has(id)) continue;
    const fields = JSON.parse(features) as object;
    const print = fingerprint(pipeline, fields);
    const count = left.get(print) ?? 0;
    if (count === 0) verdict.strangers.push(`the row of ${id}, which nobody sent`);
    left.set(print, count - 1);
    all.set(id, { id, pipeline, key: id, fields, accepted: false });
  }
  return all;
}

function verifyLog(
  sent: ReadonlyMap<string, SentEvent>,
  { events, predictions, deadLetters }: Evidence,
  reference: ReferenceScore,
  { losses, duplicates, wrong, strangers }: Verdict,
): void {
  const onTheLog = new Set(events.map(({ id }) => id));
  for (const { id, accepted } of sent.values())
    if (accepted && !onTheLog.has(id)) losses.push(`${id} was accepted and is not on the log`);

  const predictionsOf = groupBy(predictions, ({ source }) => source);
  const lettersOf = groupBy(deadLetters, ({ source }) => source);
  const places = new Set(events.map(({ place }) => place));
  for (const source of [...predictionsOf.keys(), ...lettersOf.keys()])
    if (!places.has(source)) strangers.push(`an outcome of ${source}, where there is no event`);

  for (const { place, id } of events) {
    const event = sent.get(id);
    if (event === undefined) {
      strangers.push(`the event ${id} at ${place}, which nobody sent`);
      continue;
    }
    const made = predictionsOf.get(place) ?? [];
    const letters = lettersOf.get(place) ?? [];
    if (made.length + letters.length === 0) losses.push(`${id} at ${place} has no outcome on the log`);
    if (made.length + letters.length > 1)
      duplicates.push(
        `${id} at ${place} has ${made.length} predictions and ${letters.length} dead letters on the log`,
      );
    for (const prediction of made) {
      if (prediction.id !== id) wrong.push(`the prediction of ${place} is of ${prediction.id}, not ${id}`);
      if (event.reason !== undefined) wrong.push(`${id} was scored, and is ${event.reason}`);
      else if (prediction.score !== reference(event.pipeline, event.fields))
        wrong.push(`${id} has the score ${prediction.score} on the log`);
    }
    for (const letter of letters)
      if (letter.reason !== event.reason || letter.id !== id)
        wrong.push(
          `${id} at ${place} is a dead letter: ${letter.reason} of ${letter.id}, not ${event.reason}`,
        );
  }
  for (const [id, made] of groupBy(predictions, (prediction) => prediction.id))
    if (new Set(made.map(({ prediction_id }) => prediction_id)).size > 1)
      duplicates.push(`${id} has predictions of several ids on the log`);
}

function verifyRows(
  sent: ReadonlyMap<string, SentEvent>,
  { events, predictionRows, deadLetterRows }: Evidence,
  reference: ReferenceScore,
  { losses, duplicates, wrong, strangers }: Verdict,
): void {
  const recordsOf = groupBy(events, ({ id }) => id);
  const rowsOf = groupBy(predictionRows, ({ event_id }) => event_id);
  const lettersOf = groupBy(deadLetterRows, ({ event_id }) => event_id);
  for (const id of [...rowsOf.keys(), ...lettersOf.keys()])
    if (!recordsOf.has(id)) strangers.push(`a row of ${id}, which is not on the log`);

  for (const event of sent.values()) {
    const { id, pipeline, fields, reason, accepted } = event;
    const records = recordsOf.get(id) ?? [];
    const rows = rowsOf.get(id) ?? [];
    const letters = lettersOf.get(id) ?? [];
    if (records.length === 0 && !accepted) continue;
    const promised = reason === undefined ? { rows: 1, letters: 0 } : { rows: 0, letters: records.length };
    if (rows.length < promised.rows) losses.push(`${id} has no row`);
    if (rows.length > promised.rows) duplicates.push(`${id} has ${rows.length} rows in predictions`);
    if (letters.length < promised.letters)
      losses.push(`${id} has ${letters.length} rows in dead_letters, not ${promised.letters}`);
    if (letters.length > promised.letters)
      duplicates.push(`${id} has ${letters.length} rows in dead_letters`);
    const places = new Set(records.map(({ place }) => place));
    for (const row of rows) {
      if (row.score !== reference(pipeline, fields))
        wrong.push(`${id} has the score ${row.score} in its row`);
      if (fingerprint(row.pipeline, JSON.parse(row.features) as object) !== fingerprint(pipeline, fields))
        wrong.push(`${id} has another event's fields in its row`);
      if (!places.has(row.source)) wrong.push(`${id} says that it is from ${row.source}`);
    }
    for (const letter of letters) {
      if (letter.reason !== reason) wrong.push(`${id} is a dead letter in its row: ${letter.reason}`);
      if (!places.has(letter.source))
        wrong.push(`${id} says in dead_letters that it is from ${letter.source}`);
    }
  }
}

function verifyOrder({ sequences }: Ledger, { events, predictions }: Evidence, { disorder }: Verdict): void {
  const named = ({ pipeline, key }: { pipeline: string; key: string }): string => `${pipeline} ${key}`;
  const eventsOf = groupBy(events, named);
  const predictionsOf = groupBy(predictions, named);
  for (const [name, records] of eventsOf) {
    if (new Set(records.map(({ partition }) => partition)).size > 1)
      disorder.push(`the events of ${name} are in several partitions`);
    const made = (predictionsOf.get(name) ?? []).toSorted(byPlace);
    if (new Set(made.map(({ partition }) => partition)).size > 1)
      disorder.push(`the predictions of ${name} are in several partitions`);
    const predicted = new Set(made.map(({ source }) => source));
    const wanted = records.toSorted(byPlace).flatMap(({ place }) => (predicted.has(place) ? [place] : []));
    if (
      differ(
        wanted,
        made.map(({ source }) => source),
      )
    )
      disorder.push(`the predictions of ${name} are in another order than its events`);
  }
  for (const [name, ids] of sequences) {
    const onTheLog = (eventsOf.get(name) ?? []).toSorted(byPlace).map(({ id }) => id);
    const known = new Set(onTheLog);
    if (
      differ(
        [...new Set(ids)].filter((id) => known.has(id)),
        [...new Set(onTheLog)],
      )
    )
      disorder.push(`the events of ${name} are on the log in another order than they were sent in`);
  }
}

function verifyAnswers({ answers }: Ledger, { predictionRows }: Evidence, { wrong }: Verdict): void {
  const rows = new Map(predictionRows.map((row) => [row.event_id, row]));
  for (const { event_id: id, prediction_id, score } of answers) {
    const row = rows.get(id);
    if (row?.prediction_id !== prediction_id || row.score !== score)
      wrong.push(
        `${id} was answered ${score} (${prediction_id}), its row says ${row?.score} (${row?.prediction_id})`,
      );
  }
}

function byPlace(
  a: { partition: number; offset: number },
  b: Pick<PredictionRecord, 'partition' | 'offset'>,
): number {
  return a.partition - b.partition || a.offset - b.offset;
}

function differ(a: readonly string[], b: readonly string[]): boolean {
  return a.length !== b.length || a.some((item, index) => item !== b[index]);
}

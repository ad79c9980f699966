import { blockSize, type RowKind } from '../../analytics/audit-queries.js';
import { readDeadLetter } from '../../processors/dead-letters/dead-letter.js';
import { deadLetterId, recordEventId } from '../../processors/events/ids.js';
import { isResolution, readResolution } from '../../processors/dead-letters/resolutions.js';
import type { Prediction } from '../../schemas/types.js';
import type { StreamRecord } from '../../streams/records.js';
import { MillraceError } from '../../platform/errors.js';
import { type Bounds, countInFlight } from './bounds.js';
import { judgeEvents } from './judge-events.js';
import { reportDuplicates } from './compare-rows.js';
import { PartitionOffsets } from './offset-set.js';
import { readPrediction } from './in-flight.js';
import type { PipelineAudit } from './pipeline-audit.js';
import type { FindingKind, PartitionReport } from './report.js';

/** What exists for each event, by its offset. Takes about one byte per event in total. */
interface Places {
  events: PartitionOffsets;
  /** On the log. */
  answers: PartitionOffsets;
  shadows: PartitionOffsets;
  deadLetters: PartitionOffsets;
  /** In ClickHouse. */
  rows: Record<'answer' | 'shadow' | 'dead letter', PartitionOffsets>;
}

const lookedUpAtOnce = 1_000;

/**
 * Reads all events, predictions and dead letters of a pipeline, and compares them with each other and with
 * the rows: each event must have one prediction or dead letter, each of these one row, and each result an
 * event.
 */
export async function compareLog(audit: PipelineAudit): Promise<void> {
  const places = await readRows(audit);
  await readEvents(audit, places);
  await readPredictions(audit, places);
  await readDeadLetters(audit, places);
  await compareEvents(audit, places);
}

async function readRows({ queries, found, topics, bounds }: PipelineAudit): Promise<Places> {
  const newSets = {
    answer: new PartitionOffsets(),
    shadow: new PartitionOffsets(),
    'dead letter': new PartitionOffsets(),
  };
  const places: Places = {
    events: new PartitionOffsets(),
    answers: new PartitionOffsets(),
    shadows: new PartitionOffsets(),
    deadLetters: new PartitionOffsets(),
    rows: newSets,
  };
  const topic = topics.events;
  for (const rows of await queries.blocks('events', topic, bounds.events)) {
    const { partition, block } = rows;
    const bound = bounds.events.find((each) => each.partition === partition);
    if (bound === undefined) continue;
    const range = {
      partition,
      from: Math.max(bound.from, block * blockSize),
      to: Math.min(bound.to, (block + 1) * blockSize),
    };
    await reportDuplicates(
      { queries, topic, of: 'events', found },
      found.partition(topic, bound),
      range,
      rows,
    );
    for (const kind of ['answer', 'shadow', 'dead letter'] as const satisfies RowKind[])
      for (const offset of await queries.offsets('events', topic, range, [kind]))
        places.rows[kind].add(partition, offset);
  }
  return places;
}

async function readEvents({ streams, found, topics, bounds }: PipelineAudit, places: Places): Promise<void> {
  const topic = topics.events;
  for (const bound of bounds.events) {
    const report = found.partition(topic, bound);
    report.in_flight += await countInFlight(streams, topic, bound);
    await streams.read([{ topic, ...bound }], (records) => {
      report.records += records.length;
      for (const { partition, offset } of records) places.events.add(partition, offset);
    });
  }
}

async function readPredictions(audit: PipelineAudit, places: Places): Promise<void> {
  const { streams, serde, contracts, topics, bounds, found } = audit;
  const ranges = new Map(bounds.events.map((bound) => [bound.partition, bound]));
  for (const bound of bounds.predictions) {
    const report = found.partition(topics.predictions, bound);
    await streams.read([{ topic: topics.predictions, ...bound, to: bound.end }], async (records) => {
      const rowless: { record: StreamRecord; prediction: Prediction | undefined }[] = [];
      for (const record of records) {
        const prediction = await readPrediction(serde, contracts.prediction, record.value);
        const range = prediction?.topic === topics.events ? ranges.get(prediction.partition) : undefined;
        const isDone = record.offset < bound.to;
        if (isDone) report.records++;
        if (prediction !== undefined) {
          // Its event is not compared: it is older than --since or no longer on the log.
          if (range !== undefined && prediction.offset < range.from) {
            if (isDone) report.records--;
            continue;
          }
          if (!relate(audit, report, record, prediction, range, places)) continue;
        }
        if (!isDone) report.in_flight++;
        else if (prediction !== undefined && hasRow(prediction, range, places)) report.rows++;
        else rowless.push({ record, prediction });
      }
      for (let from = 0; from < rowless.length; from += lookedUpAtOnce)
        await judgeRowless(audit, report, rowless.slice(from, from + lookedUpAtOnce));
    });
  }
}

/** Records a prediction for its event. @returns whether it should have its own row. */
function relate(
  { found, topics }: PipelineAudit,
  report: PartitionReport,
  { partition, offset }: StreamRecord,
  prediction: Prediction,
  range: Bounds | undefined,
  places: Places,
): boolean {
  const addFinding = (kind: FindingKind, detail: string): void => {
    found.add(report, kind);
    found.name({ kind, topic: topics.predictions, partition, offset, event_id: prediction.event_id, detail });
  };
  const place = `${prediction.topic}/${prediction.partition}/${prediction.offset}`;
  const isThere = range !== undefined && places.events.has(prediction.partition, prediction.offset);
  if (!isThere && (range === undefined || prediction.offset < range.to)) {
    addFinding('stray', `names the event at ${place}, which does not exist`);
    return true;
  }
  // Events that arrived during the audit are not recorded.
  if (!isThere) return true;
  const set = prediction.role === 'shadow' ? places.shadows : places.answers;
  if (set.add(prediction.partition, prediction.offset)) return true;
  const what = prediction.role === 'shadow' ? 'shadow prediction' : 'prediction';
  addFinding('doubled', `is a second ${what} of the event at ${place}`);
  return false;
}

function hasRow(prediction: Prediction, range: Bounds | undefined, { rows }: Places): boolean {
  if (range === undefined) return false;
  const kind = prediction.role === 'shadow' ? 'shadow' : 'answer';
  return rows[kind].has(prediction.partition, prediction.offset);
}

async function judgeRowless(
  { queries, found, topics }: PipelineAudit,
  report: PartitionReport,
  rowless: readonly { record: StreamRecord; prediction: Prediction | undefined }[],
): Promise<void> {
  const ids = new Map(
    rowless.flatMap(({ prediction }) =>
      prediction === undefined ? [] : [[prediction.prediction_id, prediction.event_id] as const],
    ),
  );
  const stored = await queries.predictions(ids);
  const deadLetters = await queries.deadLetters(
    topics.predictions,
    report.partition,
    rowless.map(({ record }) => record.offset),
  );
  for (const { record, prediction } of rowless) {
    const { topic, partition, offset } = record;
    if (deadLetters.has(offset)) report.rows++;
    else if (prediction !== undefined && stored.has(prediction.prediction_id)) report.repeats++;
    else {
      found.add(report, 'missing');
      const detail =
        prediction === undefined
          ? 'is undecodable and has no dead letter in ClickHouse'
          : 'has no row in ClickHouse';
      found.name({
        kind: 'missing',
        topic,
        partition,
        offset,
        event_id: prediction?.event_id ?? null,
        detail,
      });
    }
  }
}

async function readDeadLetters(audit: PipelineAudit, places: Places): Promise<void> {
  const { streams, topics, bounds, found, pipeline } = audit;
  for (const bound of bounds.deadLetters) {
    const report = found.partition(topics.deadLetters, bound);
    await streams.read([{ topic: topics.deadLetters, ...bound, to: bound.end }], async (records) => {
      const done: StreamRecord[] = [];
      for (const record of records) {
        if (record.offset >= bound.to) report.in_flight++;
        else done.push(record);
        if (isResolution(record)) continue;
        const deadLetter = readDeadLetter(record, pipeline);
        if (deadLetter.topic !== topics.events || !places.events.has(deadLetter.partition, deadLetter.offset))
          continue;
        if (places.deadLetters.add(deadLetter.partition, deadLetter.offset)) continue;
        found.add(report, 'doubled');
        const { topic, partition, offset } = record;
        const detail = `is a second dead letter of the event at ${deadLetter.topic}/${deadLetter.partition}/${deadLetter.offset}`;
        found.name({ kind: 'doubled', topic, partition, offset, event_id: deadLetter.eventId, detail });
      }
      report.records += done.length;
      for (let from = 0; from < done.length; from += lookedUpAtOnce)
        await judgeDeadLetters(audit, report, done.slice(from, from + lookedUpAtOnce));
    });
  }
}

async function judgeDeadLetters(
  { queries, found, pipeline }: PipelineAudit,
  report: PartitionReport,
  records: readonly StreamRecord[],
): Promise<void> {
  const byPlace = new Map<string, { topic: string; partition: number; offsets: number[] }>();
  const resolutions: string[] = [];
  const entries = records.map((record) => {
    if (isResolution(record)) {
      const id = resolvedId(record, pipeline);
      if (id !== undefined) resolutions.push(id);
      return { record, id, deadLetter: undefined };
    }
    const deadLetter = readDeadLetter(record, pipeline);
    const { topic, partition, offset } = deadLetter;
    const key = `${topic}/${partition}`;
    const same = byPlace.get(key) ?? { topic, partition, offsets: [] };
    same.offsets.push(offset);
    byPlace.set(key, same);
    return { record, id: deadLetterId(deadLetter), deadLetter };
  });
  const stored = await queries.resolutions(resolutions);
  const deadLetters = new Map<string, Set<number>>();
  for (const [key, { topic, partition, offsets }] of byPlace)
    deadLetters.set(key, await queries.deadLetters(topic, partition, offsets));
  for (const { record, id, deadLetter } of entries) {
    // The sink ignores an invalid resolution.
    const isStored =
      deadLetter === undefined
        ? id === undefined || stored.has(id)
        : deadLetters.get(`${deadLetter.topic}/${deadLetter.partition}`)?.has(deadLetter.offset);
    if (isStored) report.rows++;
    else {
      const { topic, partition, offset } = record;
      found.add(report, 'missing');
      const detail =
        deadLetter === undefined
          ? `(resolution of ${id}) has no row in ClickHouse`
          : 'has no row in ClickHouse';
      found.name({
        kind: 'missing',
        topic,
        partition,
        offset,
        event_id: deadLetter?.eventId ?? null,
        detail,
      });
    }
  }
}

function resolvedId(record: StreamRecord, pipeline: string): string | undefined {
  try {
    return readResolution(record, pipeline).deadLetterId;
  } catch (error) {
    if (error instanceof MillraceError) return undefined;
    throw error;
  }
}

/** Compares the events with everything that was read. */
async function compareEvents(audit: PipelineAudit, places: Places): Promise<void> {
  const { topics, bounds, found, since } = audit;
  // If predictions were deleted from the log, only ClickHouse is compared.
  const isWhole = since === undefined && bounds.predictions.every(({ start }) => start === 0);
  const judge = judgeEvents(audit);
  for (const bound of bounds.events) {
    const { partition, from, to } = bound;
    const report = found.partition(topics.events, bound);
    const unanswered: number[] = [];
    for (let offset = from; offset < to; offset++) {
      const has = (set: PartitionOffsets): boolean => set.has(partition, offset);
      const isEvent = has(places.events);
      const isAnswered = has(places.rows.answer);
      if (!isEvent) {
        if (isAnswered || has(places.rows['dead letter']) || has(places.rows.shadow))
          await addEventFinding(audit, report, 'stray', offset, 'has a row in ClickHouse, but no event');
        continue;
      }
      const isPredicted = has(places.answers);
      const isDeadLetter = has(places.deadLetters);
      // Conflicting rows are already reported.
      if (isPredicted && isDeadLetter && !(isAnswered && has(places.rows['dead letter'])))
        await addEventFinding(
          audit,
          report,
          'doubled',
          offset,
          'has both a prediction and a dead letter on the log',
        );
      if (isPredicted || isDeadLetter || has(places.rows['dead letter'])) report.rows++;
      else if (isAnswered) {
        report.rows++;
        if (isWhole)
          await addEventFinding(
            audit,
            report,
            'stray',
            offset,
            'has a row in ClickHouse, but no prediction on the log',
          );
      } else unanswered.push(offset);
    }
    for (let first = 0; first < unanswered.length; first += lookedUpAtOnce)
      await judgeUnanswered(audit, report, unanswered.slice(first, first + lookedUpAtOnce), {
        isWhole,
        judge,
      });
  }
}

async function judgeUnanswered(
  { streams, topics, found }: PipelineAudit,
  report: PartitionReport,
  offsets: readonly number[],
  { isWhole, judge }: { isWhole: boolean; judge: ReturnType<typeof judgeEvents> },
): Promise<void> {
  const wanted = new Set(offsets);
  const span = {
    topic: topics.events,
    partition: report.partition,
    from: offsets[0] ?? 0,
    to: (offsets.at(-1) ?? -1) + 1,
  };
  await streams.read([span], async (all) => {
    const records = all.filter(({ offset }) => wanted.has(offset));
    const verdicts = isWhole ? [] : await judge(records);
    for (const [index, record] of records.entries()) {
      const verdict = verdicts[index];
      if (verdict !== undefined && verdict.kind !== 'missing') {
        report[verdict.kind === 'in flight' ? 'in_flight' : 'repeats']++;
        continue;
      }
      const { topic, partition, offset } = record;
      found.add(report, 'missing');
      const detail = 'has neither a prediction nor a dead letter, on the log or in ClickHouse';
      found.name({ kind: 'missing', topic, partition, offset, event_id: recordEventId(record), detail });
    }
  });
}

async function addEventFinding(
  { streams, topics, queries, found }: PipelineAudit,
  report: PartitionReport,
  kind: FindingKind,
  offset: number,
  detail: string,
): Promise<void> {
  found.add(report, kind);
  if (found.room <= 0) return;
  const { partition } = report;
  const topic = topics.events;
  let eventId = (await queries.eventIds(topic, partition, [offset])).get(offset) ?? null;
  await streams.read([{ topic, partition, from: offset, to: offset + 1 }], ([record]) => {
    if (record !== undefined) eventId = recordEventId(record);
  });
  found.name({ kind, topic, partition, offset, event_id: eventId, detail });
}

import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../platform/errors.js';
import { sizeOf, type NewRecord, unreadableHeader } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';
import { pipelineTopics } from '../../streams/topics.js';
import { type DeadLetterFilter, eachDeadLetter, matches, readResolutions } from './search.js';
import { deadLetterPrefix, redrivenHeader, type StoredDeadLetter } from './dead-letter.js';
import { eventIdProblem } from '../events/ids.js';
import { isStorable } from '../../analytics/rows.js';
import { type ResolutionKind, resolutionRecord } from './resolutions.js';

export interface ResolveOptions {
  pipeline: string;
  filter: DeadLetterFilter;
  /**
   * `redriven` writes the records back to their topics; `discarded` only marks the dead letters as resolved.
   */
  kind: ResolutionKind;
  /** Whether to include dead letters that were resolved before. */
  again: boolean;
  /** Stored in the resolutions. */
  note: string;
  /** Only reports the actions. */
  dryRun: boolean;
  /** Maximum dead letters a second. Default: no limit. */
  rate?: number | undefined;
  /** Stops after the work in flight. */
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** The result; for a dry run, the expected one. */
export interface ResolveSummary {
  done: number;
  /** Matching dead letters, of which `done` are resolved; fewer when the signal aborts. */
  total: number;
  /** Part of `total`, by reason. */
  reasons: Map<string, number>;
  /** Resolved before, and left unchanged. */
  resolvedBefore: number;
  /** Dead letters that can't be redriven, by cause. */
  impossible: Map<string, number>;
  /** Those of `filter.ids` that exist. */
  found: Set<string>;
}

/** Records of one transaction. */
const chunkSize = 500;

/** Transactions a second when a rate is set. */
const chunksPerSecond = 10;

/**
 * Events topics have a limit of 1 MiB: a larger record, which was compressed originally, is not redriven
 * unchanged.
 */
const maxRecordBytes = 1_000_000;

/**
 * Resolves dead letters of one pipeline. A redriven record and its resolution are one transaction, so a
 * killed run leaves each dead letter resolved or open, and the next one continues. A later run fences an
 * earlier one; each reads the resolutions again once it is the only writer.
 *
 * @throws MillraceError `LOG_FENCED` when another run has taken over, `LOG_UNAVAILABLE` (retriable).
 */
export async function resolveDeadLetters(streams: Streams, options: ResolveOptions): Promise<ResolveSummary> {
  const { pipeline, dryRun } = options;
  // A run with nothing to do must not fence one in progress.
  const preview = await makePlan(streams, options);
  if (dryRun || preview.ids.size === 0) return preview.summary;
  const producer = await streams.createTransactionalProducer(`millrace-dead-letters-${pipeline}`);
  try {
    // Resolutions behind an open transaction of another producer are not visible yet.
    await streams.lastStableOffsets(pipelineTopics(pipeline).deadLetters);
    const plan = await makePlan(streams, options);
    await carryOut(streams, plan, options, (records) => producer.commit(records));
    return plan.summary;
  } finally {
    await producer.close();
  }
}

interface Plan {
  /** Returns the ids of the unresolved dead letters. */
  ids: Set<string>;
  summary: ResolveSummary;
}

async function makePlan(streams: Streams, options: ResolveOptions): Promise<Plan> {
  const { pipeline, filter, again, kind } = options;
  const resolved = await readResolutions(streams, [pipeline]);
  const ids = new Set<string>();
  const summary: ResolveSummary = {
    done: 0,
    total: 0,
    reasons: new Map(),
    resolvedBefore: 0,
    impossible: new Map(),
    found: new Set(),
  };
  await eachDeadLetter(streams, [pipeline], (deadLetters) => {
    for (const deadLetter of deadLetters.filter((each) => matches(each, filter))) {
      if (filter.ids) summary.found.add(deadLetter.id);
      const record = kind === 'redriven' ? originalRecord(deadLetter) : undefined;
      if (resolved.has(deadLetter.id) && !again) summary.resolvedBefore++;
      else if (record instanceof MillraceError) count(summary.impossible, record.message);
      else {
        ids.add(deadLetter.id);
        count(summary.reasons, deadLetter.reason);
      }
    }
  });
  summary.total = ids.size;
  return { ids, summary };
}

async function carryOut(
  streams: Streams,
  { ids, summary }: Plan,
  { pipeline, kind, note, rate, signal, onProgress }: ResolveOptions,
  commit: (records: NewRecord[]) => Promise<void>,
): Promise<void> {
  const size = rate === undefined ? chunkSize : Math.min(chunkSize, Math.ceil(rate / chunksPerSecond));
  const startedAt = performance.now();
  onProgress?.(0, summary.total);
  await eachDeadLetter(streams, [pipeline], async (deadLetters) => {
    const planned = deadLetters.filter(({ id }) => ids.has(id));
    for (let from = 0; from < planned.length; from += size) {
      if (rate !== undefined)
        await pauseUntil(startedAt + (summary.done / rate) * 1000, signal).catch(() => undefined);
      if (signal?.aborted) return false;
      const chunk = planned.slice(from, from + size);
      const records = chunk.flatMap((deadLetter) => toRecords(deadLetter, kind, note));
      await commit(records);
      for (const { id } of chunk) ids.delete(id);
      summary.done += chunk.length;
      onProgress?.(summary.done, summary.total);
    }
    return !signal?.aborted;
  });
}

function toRecords(deadLetter: StoredDeadLetter, kind: ResolutionKind, note: string): NewRecord[] {
  const resolution = resolutionRecord(deadLetter, { kind, note, now: Date.now() });
  const original = kind === 'redriven' ? originalRecord(deadLetter) : undefined;
  return original === undefined || original instanceof MillraceError ? [resolution] : [original, resolution];
}

/**
 * Returns the failed record for its original topic: the same bytes, key and headers. An event keeps its id
 * and time, even if they were derived from its position on the log, so its prediction is the same.
 *
 * @returns `NOT_REDRIVABLE` when the dead letter is incomplete, or comes from a topic without redrives.
 */
export function originalRecord(deadLetter: StoredDeadLetter): NewRecord | MillraceError {
  const { record, topic, eventId, pipeline } = deadLetter;
  const { events, predictions, outcomes } = pipelineTopics(pipeline);
  if (record.headers[`${deadLetterPrefix}truncated-from`] !== undefined)
    return notRedrivable(
      'the dead letter holds only the beginning of the value: the log could not take the whole',
    );
  if (record.headers[unreadableHeader] !== undefined)
    return notRedrivable('its batch can’t be decompressed or parsed, so the dead letter holds no value');
  if (topic.startsWith('rabbitmq:'))
    return notRedrivable('it never was on the log: move its message back from RabbitMQ’s dead-letter queue');
  if (![events, predictions, outcomes].includes(topic))
    return notRedrivable(`it did not come from a topic of events, predictions or outcomes of ${pipeline}`);
  const kept = Object.entries(record.headers).filter(([name]) => !name.startsWith(deadLetterPrefix));
  const headers: NonNullable<NewRecord['headers']> = Object.fromEntries(kept);
  headers[redrivenHeader] = String(deadLetter.redriven + 1);
  if (topic === events) {
    const problem = eventIdProblem(record);
    if (problem !== undefined) return notRedrivable(`it would fail again: ${problem}`);
    if (!headers['ce_id']?.length && eventId !== null) headers['ce_id'] = eventId;
    if (!headers['ce_time']?.length) headers['ce_time'] = new Date(firstTime(deadLetter)).toISOString();
  }
  const original = { topic, key: record.key, value: record.value, headers };
  return sizeOf(original) > maxRecordBytes
    ? notRedrivable(`it has more than ${maxRecordBytes} bytes: its topic took it only compressed`)
    : original;
}

/** Returns when the failed record was written to the log; if unknown, when it failed. */
function firstTime({ record, failedAt }: StoredDeadLetter): number {
  const time = Number(record.headers[`${deadLetterPrefix}timestamp`]?.toString() ?? Number.NaN);
  return isStorable(time) ? time : failedAt;
}

function notRedrivable(why: string): MillraceError {
  return new MillraceError('NOT_REDRIVABLE', why);
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

async function pauseUntil(time: number, signal: AbortSignal | undefined): Promise<void> {
  const wait = time - performance.now();
  if (wait > 0) await sleep(wait, undefined, signal === undefined ? {} : { signal });
}

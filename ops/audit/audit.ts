import { AuditQueries } from '../../analytics/audit-queries.js';
import { MillraceError } from '../../platform/errors.js';
import { outcomeReader } from '../../processors/sink/outcomes.js';
import { loadContract } from '../../schemas/contracts.js';
import type { ModelEvent } from '../../schemas/types.js';
import type { StreamRecord } from '../../streams/records.js';
import type { Streams } from '../../streams/streams.js';
import { pipelineTopics, scoringGroup, sinkGroup, systemTopics } from '../../streams/topics.js';
import { describeBeyondEnd, offsetsBeyondEnd } from '../../streams/log-admin.js';
import { type Bounds, stalledPartitions, takeBounds, waitUntilDone } from './bounds.js';
import { compareLog } from './compare-log.js';
import { compareRows, type Verdict } from './compare-rows.js';
import { judgeEvents } from './judge-events.js';
import { type InFlight, readInFlight } from './in-flight.js';
import type { AuditOptions, PipelineAudit } from './pipeline-audit.js';
import { type AuditReport, Findings } from './report.js';

/**
 * Compares the log with the rows in ClickHouse. Changes nothing: joins no consumer group and commits no
 * offset.
 *
 * @throws MillraceError `TOPIC_MISSING`, and when the log, the registry or ClickHouse is unavailable.
 */
export async function auditLog(options: AuditOptions): Promise<AuditReport> {
  const {
    streams,
    client,
    pipelines,
    since,
    deep = false,
    waitMs = 0,
    stillMs = 3_000,
    limit = 20,
  } = options;
  const unfinished = [...(options.unfinished ?? [])];
  await streams.requireTopics(pipelines.flatMap((pipeline) => Object.values(pipelineTopics(pipeline))));
  const found = new Findings(limit);
  const queries = new AuditQueries(client);
  const contracts = {
    prediction: loadContract('shared', 'prediction'),
    outcome: loadContract('shared', 'outcome'),
  };
  for (const pipeline of pipelines) {
    const topics = pipelineTopics(pipeline);
    options.onProgress?.(pipeline);
    const deadline = performance.now() + waitMs;
    const wait = async (group: string, topic: string): Promise<void> => {
      if (waitMs > 0 && !(await waitUntilDone(streams, group, topic, deadline)))
        unfinished.push(`${group} has not processed ${topic} within ${waitMs / 1000} s`);
    };
    await wait(scoringGroup(pipeline), topics.events);
    const events = await takeBounds(streams, scoringGroup(pipeline), topics.events, since);
    // Results are committed in one transaction with the group's offset, but may become visible a moment
    // later.
    for (const topic of [topics.predictions, topics.deadLetters])
      if (!(await streams.whenSettled(topic)))
        unfinished.push(`${topic} ends with a transaction that is open for too long`);
    const results = [topics.predictions, topics.deadLetters, topics.outcomes];
    for (const topic of results) await wait(sinkGroup, topic);
    // Clocks differ, so results may have earlier timestamps than their events.
    const early = since === undefined ? undefined : since - 600_000;
    const bounds = {
      events,
      predictions: await takeBounds(streams, sinkGroup, topics.predictions, early),
      outcomes: await takeBounds(streams, sinkGroup, topics.outcomes, since),
      // Read last, to include dead letters of rows that the sink could not store.
      deadLetters: await takeBounds(streams, sinkGroup, topics.deadLetters, early),
    };
    const audit = { ...options, queries, found, pipeline, topics, contracts, bounds };
    if (deep) await compareLog(audit);
    else await compareEvents(audit);
    await compareOutcomes(audit);
    const groups = [
      { group: scoringGroup(pipeline), topic: topics.events, bounds: bounds.events },
      { group: sinkGroup, topic: topics.predictions, bounds: bounds.predictions },
      { group: sinkGroup, topic: topics.outcomes, bounds: bounds.outcomes },
      { group: sinkGroup, topic: topics.deadLetters, bounds: bounds.deadLetters },
    ];
    unfinished.push(
      ...(await Promise.all(groups.map((of) => compareOffsets(streams, found, stillMs, of)))).flat(),
    );
  }
  if ((await streams.topics()).includes(systemTopics.models)) await compareModels(options, queries, found);
  return {
    clean: found.found === 0,
    deep,
    unfinished,
    partitions: found.partitions,
    findings: found.named,
    found: found.found,
  };
}

/**
 * Checks that a group has committed no offset beyond the end of the log, and makes progress.
 *
 * @returns a text for each partition without progress.
 */
async function compareOffsets(
  streams: Streams,
  found: Findings,
  stillMs: number,
  { group, topic, bounds }: { group: string; topic: string; bounds: readonly Bounds[] },
): Promise<string[]> {
  for (const beyond of await offsetsBeyondEnd(streams, group, [topic])) {
    const { partition, committed: offset } = beyond;
    const bound = bounds.find((each) => each.partition === partition);
    if (bound !== undefined) found.add(found.partition(topic, bound), 'stray');
    const detail = `is no offset of the log: ${describeBeyondEnd(beyond)}`;
    found.name({ kind: 'stray', topic, partition, offset, event_id: null, detail });
  }
  const stalled = await stalledPartitions(streams, group, topic, bounds, stillMs);
  return stalled.map(
    ({ partition, to }) =>
      `${group} has records to process and has stayed at offset ${to} of ${topic}/${partition} for ${stillMs / 1000} s`,
  );
}

/** Checks that each event has a row of its prediction or dead letter. */
async function compareEvents(audit: PipelineAudit): Promise<void> {
  const { streams, queries, found, topics, bounds } = audit;
  await compareRows({
    streams,
    queries,
    found,
    topic: topics.events,
    of: 'events',
    bounds: bounds.events,
    judge: judgeEvents(audit),
  });
}

/** Checks that each outcome has a row, unless a later outcome of the same event has replaced it. */
async function compareOutcomes(audit: PipelineAudit): Promise<void> {
  const {
    streams,
    serde,
    queries,
    found,
    pipeline,
    topics,
    contracts: { outcome, prediction },
    bounds,
  } = audit;
  let reading: Promise<InFlight> | undefined;
  const judge = async (records: StreamRecord[]): Promise<Verdict[]> => {
    const ids = await Promise.all(records.map(({ value }) => readEventId(value)));
    const stored = await queries.outcomes(pipeline, [...new Set(ids.filter((id) => id !== null))]);
    if (ids.some((id) => id === null || !stored.has(id)))
      reading ??= readInFlight({ ...audit, ...bounds, prediction });
    const inFlight = await reading;
    return records.map((record, index): Verdict => {
      const eventId = ids[index] ?? null;
      if (eventId !== null && stored.has(eventId)) return { kind: 'repeat' };
      if (inFlight?.inFlight(record)) return { kind: 'in flight' };
      return { kind: 'missing', eventId, detail: 'has no outcome and no dead letter in ClickHouse' };
    });
  };
  const readOutcome = outcomeReader(serde, outcome);
  const readEventId = async (value: Buffer | null): Promise<string | null> => {
    try {
      return (await readOutcome(value)).event_id;
    } catch (error) {
      if (error instanceof MillraceError && !error.retriable) return null;
      throw error;
    }
  };
  await compareRows({
    streams,
    queries,
    found,
    topic: topics.outcomes,
    of: 'outcomes',
    bounds: bounds.outcomes,
    judge,
  });
}

/** Checks that each model event on the log has a row. Rows may outlive events that compaction removed. */
async function compareModels(
  { streams, serde }: AuditOptions,
  queries: AuditQueries,
  found: Findings,
): Promise<void> {
  const topic = systemTopics.models;
  const { type } = loadContract('shared', 'model-event');
  const judge = (records: StreamRecord[]): Promise<Verdict[]> =>
    Promise.all(
      records.map(async ({ value }): Promise<Verdict> => {
        try {
          const { model, kind } = (await serde.decode(value, type)) as ModelEvent;
          return { kind: 'missing', eventId: null, detail: `(${model}: ${kind}) has no row in model_events` };
        } catch (error) {
          // The sink logs and skips such a record.
          if (error instanceof MillraceError && !error.retriable) return { kind: 'elsewhere' };
          throw error;
        }
      }),
    );
  const bounds = await takeBounds(streams, sinkGroup, topic, undefined);
  await compareRows({ streams, queries, found, topic, of: 'models', bounds, judge });
}

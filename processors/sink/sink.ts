import { randomUUID } from 'node:crypto';
import type { Analytics } from '../../analytics/client.js';
import { insertRows, storageOf } from '../../analytics/insert.js';
import {
  type DeadLetterResolutionRow,
  type DeadLetterRow,
  type ModelEventRow,
  type OutcomeRow,
  type RowsByTable,
  toRowTime,
} from '../../analytics/rows.js';
import { MillraceError } from '../../platform/errors.js';
import type { Logger } from '../../platform/logger.js';
import type { Metrics } from '../../platform/metrics.js';
import { endAfter, endSpan } from '../../platform/tracing/spans.js';
import type { Contract } from '../../schemas/contracts.js';
import type { ModelEvent, Outcome, Prediction } from '../../schemas/types.js';
import type { LogProducer } from '../../streams/log-producer.js';
import type { NewRecord, StreamRecord } from '../../streams/records.js';
import { schemaIdOf, type Serde } from '../../streams/serde.js';
import { pipelineTopics, systemTopics } from '../../streams/topics.js';
import { deadLetterRecord, readDeadLetter, smallerDeadLetter } from '../dead-letters/dead-letter.js';
import { asDeadLetterReason, reasonOf } from '../dead-letters/reasons.js';
import { deadLetterId, positionEventId } from '../events/ids.js';
import { startInsertSpan } from './insert-span.js';
import { outcomeReader } from './outcomes.js';
import { PlainStore } from './plain-store.js';
import { toPredictionRow } from '../scoring/prediction.js';
import { isResolution, readResolution } from '../dead-letters/resolutions.js';

type Table = keyof RowsByTable;

export interface SinkOptions {
  /** Names of the pipelines whose topics are stored. */
  pipelines: readonly string[];
  analytics: Pick<Analytics, 'client' | 'insertColumns'>;
  serde: Serde;
  prediction: Contract;
  outcome: Contract;
  modelEvent: Contract;
  /** Receives unstorable records as dead letters. */
  producer: LogProducer;
  metrics: Metrics;
  logger: Logger;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/** Destination of a topic's records. */
interface Target {
  table: Table;
  /**
   * Pipeline of the topic's dead letters; `millrace` for a topic without a pipeline, whose unstorable records
   * are only logged.
   */
  pipeline: string;
}

const tables = [
  'predictions',
  'dead_letters',
  'dead_letter_resolutions',
  'model_events',
  'outcomes',
] as const;

/** A record and its row. */
interface Entry {
  record: StreamRecord;
  row: RowsByTable[Table];
}

/** A record that fits no row. */
interface RejectedRecord {
  record: StreamRecord;
  target: Target;
  reason: MillraceError;
}

/**
 * Stores predictions, dead letters, outcomes and the lifecycle of models in ClickHouse. Storing a record
 * again changes nothing, so offsets are committed after the insert and a crash between the two only repeats
 * work.
 */
export class Sink {
  readonly #options: SinkOptions;
  readonly #targets: ReadonlyMap<string, Target>;
  readonly #now: () => number;
  readonly #tokens = new WeakMap<StreamRecord, string>();
  readonly #readOutcome: ReturnType<typeof outcomeReader>;
  readonly #plain: PlainStore;

  constructor(options: SinkOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#readOutcome = outcomeReader(options.serde, options.outcome);
    const ofPipelines = options.pipelines.flatMap((pipeline): [string, Target][] => {
      const topics = pipelineTopics(pipeline);
      return [
        [topics.predictions, { table: 'predictions', pipeline }],
        [topics.deadLetters, { table: 'dead_letters', pipeline }],
        [topics.outcomes, { table: 'outcomes', pipeline }],
      ];
    });
    this.#targets = new Map(ofPipelines).set(systemTopics.models, {
      table: 'model_events',
      pipeline: 'millrace',
    });
    this.#plain = new PlainStore(options, {
      stores: ({ topic }) => this.#targets.get(topic)?.table === 'predictions',
      run: (records, insert) => this.#run('predictions', records, insert),
    });
  }

  /** The topics to consume. */
  get topics(): string[] {
    return [...this.#targets.keys()];
  }

  /**
   * Stores the records. One that fits no row becomes a dead letter. There are no retries here: after a failed
   * insert the batch consumer (streams/batch-consumer.ts, `handle`) calls again with the same records, for as
   * long as it takes, with the pauses of `backoff` (platform/backoff.ts).
   *
   * @param earlier - resolves once the records before these are stored, or will be stored again with them.
   * @throws MillraceError while ClickHouse, registry or log is unavailable: call again with the same records.
   */
  async store(records: readonly StreamRecord[], earlier?: Promise<unknown>): Promise<void> {
    const entries: Record<Table, Entry[]> = {
      predictions: [],
      dead_letters: [],
      dead_letter_resolutions: [],
      outcomes: [],
      model_events: [],
    };
    const rejected: RejectedRecord[] = [];
    for (const record of await this.#plain.store(records)) {
      const target = this.#targetOf(record);
      if (target === undefined) continue;
      try {
        const row = this.#toRow(target, record);
        entries[target.table].push({ record, row: row instanceof Promise ? await row : row });
      } catch (error) {
        rejected.push({ record, target, reason: asDeadLetterReason(error) });
      }
    }
    for (const table of tables) {
      // Of an outcome and its correction with the same time, the last one stored counts.
      if (table === 'outcomes' && entries.outcomes.length > 0) await earlier;
      rejected.push(...(await this.#insert(table, entries[table])));
    }
    await this.#deadLetter(rejected);
  }

  #targetOf(record: StreamRecord): Target | undefined {
    const target = this.#targets.get(record.topic);
    if (target?.table !== 'dead_letters' || !isResolution(record)) return target;
    return { ...target, table: 'dead_letter_resolutions' };
  }

  /** @returns the records that ClickHouse refuses, found by halving. */
  async #insert(table: Table, entries: Entry[]): Promise<RejectedRecord[]> {
    const [first] = entries;
    if (first === undefined) return [];
    const { client } = this.#options.analytics;
    const records = entries.map(({ record }) => record);
    const rows = entries.map(({ row }) => row);
    const refusal = await this.#run(table, records, (token) =>
      insertRows(client, table, rows as never[], token),
    );
    if (refusal === undefined) return [];
    const target = this.#targetOf(first.record);
    if (entries.length === 1 && target !== undefined)
      return [{ record: first.record, target, reason: refusal }];
    const middle = entries.length >> 1;
    const refused = await this.#insert(table, entries.slice(0, middle));
    return refused.concat(await this.#insert(table, entries.slice(middle)));
  }

  /**
   * Runs an insert of records, with its token, span and metrics.
   *
   * @returns the error if ClickHouse refuses a row.
   */
  async #run(
    table: Table,
    records: readonly StreamRecord[],
    insert: (token: string) => Promise<void>,
  ): Promise<MillraceError | undefined> {
    const { metrics } = this.#options;
    try {
      const token = this.#tokenOf(records);
      const span = startInsertSpan(storageOf(table), records);
      await endAfter(insert(token), (error) => endSpan(span, error));
      metrics.sinkRows.inc({ table }, records.length);
      return undefined;
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'CLICKHOUSE_BAD_ROWS') return error;
      metrics.sinkFailures.inc({ table });
      throw error;
    }
  }

  /**
   * Returns the deduplication token: the same for the same batch, another for anything else, even for the
   * same positions of the log. A recreated topic has other records there, and a replay must restore deleted
   * rows.
   */
  #tokenOf(records: readonly StreamRecord[]): string {
    const [first] = records;
    if (first === undefined) throw new RangeError('An insert has rows.');
    const token = this.#tokens.get(first) ?? randomUUID();
    this.#tokens.set(first, token);
    return `${token}/${records.length}`;
  }

  /** Makes dead letters of records that fit no row. */
  async #deadLetter(rejected: readonly RejectedRecord[]): Promise<void> {
    const { logger, metrics } = this.#options;
    const records: NewRecord[] = [];
    for (const { record, target, reason } of rejected) {
      const { table, pipeline } = target;
      const { topic, partition, offset } = record;
      logger.warn({ err: reason, topic, partition, offset }, 'a record can’t be stored');
      metrics.deadLetters.inc({ pipeline, reason: reasonOf(reason) });
      // A dead letter about a dead letter could repeat endlessly; the record itself stays on its topic.
      if (table !== 'predictions' && table !== 'outcomes') continue;
      const schemaId = schemaIdOf(record.value);
      const about = { now: this.#now(), schemaId, eventId: await this.#eventIdOf(record, table) };
      const { deadLetters } = pipelineTopics(pipeline);
      records.push(deadLetterRecord(deadLetters, pipeline, record, reason, about));
    }
    await this.#write(records);
  }

  /**
   * Returns the event of a record, if it is readable: a client that waits for that event finds the dead
   * letter by it.
   */
  async #eventIdOf(record: StreamRecord, table: 'predictions' | 'outcomes'): Promise<string> {
    try {
      const { type } = this.#options[table === 'predictions' ? 'prediction' : 'outcome'];
      const { event_id } = (await this.#options.serde.decode(record.value, type)) as Prediction | Outcome;
      if (event_id !== '') return event_id;
    } catch (error) {
      asDeadLetterReason(error);
    }
    return positionEventId(record);
  }

  /**
   * Writes dead letters. @throws MillraceError of the first one that is refused even without the original.
   */
  async #write(deadLetters: readonly NewRecord[], refusals = 0): Promise<void> {
    const outcomes = await this.#options.producer.sendEach(
      deadLetters.map((deadLetter) => smallerDeadLetter(deadLetter, refusals)),
    );
    const refused: NewRecord[] = [];
    for (const [index, outcome] of outcomes.entries()) {
      if (!(outcome instanceof MillraceError)) continue;
      const deadLetter = deadLetters[index];
      if (outcome.code !== 'RECORD_TOO_LARGE' || refusals === 2 || deadLetter === undefined) throw outcome;
      refused.push(deadLetter);
    }
    if (refused.length > 0) await this.#write(refused, refusals + 1);
  }

  #toRow({ table, pipeline }: Target, record: StreamRecord): Entry['row'] | Promise<Entry['row']> {
    if (table === 'dead_letters') return toDeadLetterRow(record, pipeline);
    if (table === 'dead_letter_resolutions') return toResolutionRow(record, pipeline);
    const { serde, prediction, modelEvent } = this.#options;
    if (table === 'outcomes') {
      return after(this.#readOutcome(record.value), (value) =>
        toOutcomeRow(value as Outcome, record, pipeline),
      );
    }
    if (table === 'model_events') {
      return after(serde.decode(record.value, modelEvent.type), (value) =>
        toModelEventRow(value as ModelEvent, record),
      );
    }
    return after(serde.decode(record.value, prediction.type), (value) =>
      toPredictionRow(value as Prediction),
    );
  }
}

/** Applies a function to a value, or to the value of a promise: decoding returns either. */
function after<Row>(value: unknown, make: (value: unknown) => Row): Row | Promise<Row> {
  return value instanceof Promise ? value.then(make) : make(value);
}

function toDeadLetterRow(record: StreamRecord, pipeline: string): DeadLetterRow {
  const deadLetter = readDeadLetter(record, pipeline);
  return {
    dead_letter_id: deadLetterId(deadLetter),
    pipeline: deadLetter.pipeline,
    reason: deadLetter.reason,
    detail: deadLetter.detail,
    topic: deadLetter.topic,
    partition: deadLetter.partition,
    offset: deadLetter.offset,
    schema_id: deadLetter.schemaId,
    event_id: deadLetter.eventId,
    key: record.key,
    value: record.value,
    failed_at: new Date(deadLetter.failedAt).toISOString(),
  };
}

function toResolutionRow(record: StreamRecord, topicPipeline: string): DeadLetterResolutionRow {
  const { deadLetterId: id, pipeline, kind, note, resolvedAt } = readResolution(record, topicPipeline);
  return {
    dead_letter_id: id,
    pipeline,
    resolution: kind,
    note,
    resolved_at: toRowTime('resolved_at', resolvedAt),
  };
}

function toOutcomeRow(
  { event_id, outcome, observed_at }: Outcome,
  record: StreamRecord,
  pipeline: string,
): OutcomeRow {
  const { topic, partition, offset } = record;
  return {
    event_id,
    pipeline,
    outcome,
    observed_at: toRowTime('observed_at', observed_at),
    topic,
    partition,
    offset,
  };
}

function toModelEventRow(event: ModelEvent, { offset }: StreamRecord): ModelEventRow {
  return { ...event, model_event: offset, at: toRowTime('at', event.at) };
}

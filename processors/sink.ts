import { randomUUID } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import { insertRows } from '../analytics/insert.js';
import type { DeadLetterRow, OutcomeRow, RowsByTable } from '../analytics/rows.js';
import { MillraceError } from '../platform/errors.js';
import type { Logger } from '../platform/logger.js';
import type { Metrics } from '../platform/metrics.js';
import type { Contract } from '../schemas/contracts.js';
import type { Outcome, Prediction } from '../schemas/types.js';
import type { LogProducer } from '../streams/log-producer.js';
import type { StreamRecord } from '../streams/records.js';
import type { Serde } from '../streams/serde.js';
import { pipelineTopics } from '../streams/topics.js';
import { deadLetterRecord, readDeadLetter } from './dead-letters.js';
import { deadLetterId, positionEventId } from './ids.js';
import { toPredictionRow } from './prediction.js';

type Table = keyof RowsByTable;

export interface SinkOptions {
  /** Names of the pipelines whose topics are stored. */
  pipelines: readonly string[];
  client: ClickHouseClient;
  serde: Serde;
  prediction: Contract;
  outcome: Contract;
  /** Takes what can't be stored, as dead letters. */
  producer: LogProducer;
  metrics: Metrics;
  logger: Logger;
  /** Milliseconds since 1970, UTC. Default `Date.now`. */
  now?: () => number;
}

/** Where a topic's records go. */
interface Target {
  table: Table;
  pipeline: string;
}

/** A record and the row that it makes. */
interface Entry {
  record: StreamRecord;
  row: RowsByTable[Table];
}

/**
 * Stores predictions, dead letters and outcomes in ClickHouse. Storing a record again changes nothing, so offsets are
 * committed after the insert and a crash between the two costs only work.
 */
export class Sink {
  readonly #options: SinkOptions;
  readonly #targets: ReadonlyMap<string, Target>;
  readonly #now: () => number;
  readonly #tokens = new WeakMap<StreamRecord, string>();

  constructor(options: SinkOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#targets = new Map(
      options.pipelines.flatMap((pipeline): [string, Target][] => {
        const topics = pipelineTopics(pipeline);
        return [
          [topics.predictions, { table: 'predictions', pipeline }],
          [topics.deadLetters, { table: 'dead_letters', pipeline }],
          [topics.outcomes, { table: 'outcomes', pipeline }],
        ];
      }),
    );
  }

  /** The topics to consume. */
  get topics(): string[] {
    return [...this.#targets.keys()];
  }

  /**
   * Stores the records. One that fits no row becomes a dead letter.
   *
   * @throws MillraceError while ClickHouse, registry or log can't be reached: call again with the same records.
   */
  async store(records: readonly StreamRecord[]): Promise<void> {
    const entries: Record<Table, Entry[]> = { predictions: [], dead_letters: [], outcomes: [] };
    for (const record of records) {
      const target = this.#targets.get(record.topic);
      if (target === undefined) continue;
      try {
        const row = this.#toRow(target, record);
        entries[target.table].push({ record, row: row instanceof Promise ? await row : row });
      } catch (error) {
        await this.#setAside(record, error);
      }
    }
    for (const table of ['predictions', 'dead_letters', 'outcomes'] as const)
      await this.#insert(table, entries[table]);
  }

  async #insert(table: Table, entries: Entry[]): Promise<void> {
    const [first] = entries;
    if (first === undefined) return;
    const { client, metrics } = this.#options;
    try {
      const rows = entries.map((entry) => entry.row);
      await insertRows(client, table, rows as never[], this.#tokenOf(first.record, entries.length));
      metrics.sinkRows.inc({ table }, rows.length);
    } catch (error) {
      metrics.sinkFailures.inc({ table });
      if (!(error instanceof MillraceError) || error.code !== 'CLICKHOUSE_BAD_ROWS') throw error;
      if (entries.length === 1) return this.#setAside(first.record, error);
      const middle = entries.length >> 1;
      await this.#insert(table, entries.slice(0, middle));
      await this.#insert(table, entries.slice(middle));
    }
  }

  /**
   * The same when the same batch is stored again, another for anything else, even for the same places on the log read
   * again: a topic made anew has other records there, and rows that were deleted are to come back with a replay.
   */
  #tokenOf(first: StreamRecord, count: number): string {
    const token = this.#tokens.get(first) ?? randomUUID();
    this.#tokens.set(first, token);
    return `${token}/${count}`;
  }

  async #setAside(record: StreamRecord, error: unknown): Promise<void> {
    const target = this.#targets.get(record.topic);
    if (!(error instanceof MillraceError) || error.retriable || target === undefined) throw error;
    const { producer, logger } = this.#options;
    const { topic, partition, offset } = record;
    logger.warn({ err: error, topic, partition, offset }, 'a record can’t be stored');
    // A dead letter about a dead letter could go on for ever; the record itself stays on its topic.
    if (target.table === 'dead_letters') return;
    const { deadLetters } = pipelineTopics(target.pipeline);
    const place = { now: this.#now(), schemaId: undefined, eventId: positionEventId(record) };
    await producer.send([deadLetterRecord(deadLetters, target.pipeline, record, error, place)]);
  }

  #toRow({ table, pipeline }: Target, record: StreamRecord): Entry['row'] | Promise<Entry['row']> {
    if (table === 'dead_letters') return toDeadLetterRow(record, pipeline);
    const { serde, prediction, outcome } = this.#options;
    if (table === 'outcomes') {
      return after(serde.decode(record.value, outcome.type), (value) =>
        toOutcomeRow(value as Outcome, record, pipeline),
      );
    }
    return after(serde.decode(record.value, prediction.type), (value) =>
      toPredictionRow(value as Prediction),
    );
  }
}

/** Applies a function now to a value that is there, later to one that is on its way. */
function after<Row>(value: unknown, make: (value: unknown) => Row): Row | Promise<Row> {
  return value instanceof Promise ? value.then(make) : make(value);
}

function toDeadLetterRow(record: StreamRecord, pipeline: string): DeadLetterRow {
  const letter = readDeadLetter(record, pipeline);
  return {
    dead_letter_id: deadLetterId(letter),
    pipeline: letter.pipeline,
    reason: letter.reason,
    detail: letter.detail,
    topic: letter.topic,
    partition: letter.partition,
    offset: letter.offset,
    schema_id: letter.schemaId,
    event_id: letter.eventId,
    key: record.key,
    value: record.value,
    failed_at: new Date(letter.failedAt).toISOString(),
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
    observed_at: new Date(observed_at).toISOString(),
    topic,
    partition,
    offset,
  };
}

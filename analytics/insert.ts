import { Readable } from 'node:stream';
import type { ClickHouseClient } from '@clickhouse/client';
import { MillraceError } from '../platform/errors.js';
import { ColumnBatch } from './batches/column-batch.js';
import type { BatchColumn } from './batches/row-batch.js';
import { TextBatch } from './batches/text-batch.js';
import type { Analytics } from './client.js';
import { translateError } from './errors.js';
import type { DeadLetterRow, RowsByTable } from './rows.js';

type Table = keyof RowsByTable;

const columns = {
  predictions: [
    'event_id',
    'prediction_id',
    'pipeline',
    'model',
    'model_version',
    'model_digest',
    'event_time',
    'predicted_at',
    'score',
    'label',
    'features',
    'source',
    'topic',
    'partition',
    'offset',
    'schema_id',
    'latency_ms',
    'role',
    'model_event',
    'model_event_at',
    'outputs',
  ],
  dead_letters: [
    'dead_letter_id',
    'pipeline',
    'reason',
    'detail',
    'topic',
    'partition',
    'offset',
    'schema_id',
    'event_id',
    'key_base64',
    'value_base64',
    'failed_at',
  ],
  model_events: [
    'model_event',
    'model',
    'kind',
    'version',
    'digest',
    'previous_version',
    'shadow',
    'canary_share',
    'source',
    'at',
  ],
  dead_letter_resolutions: ['dead_letter_id', 'pipeline', 'resolution', 'note', 'resolved_at'],
  outcomes: ['event_id', 'pipeline', 'outcome', 'observed_at', 'topic', 'partition', 'offset'],
} satisfies Record<Table, [string, ...string[]]>;

const nullable = new Set([
  'label',
  'schema_id',
  'event_id',
  'key_base64',
  'value_base64',
  'model_event_at',
  'version',
  'digest',
  'previous_version',
]);

/**
 * Inserts rows in one block and resolves when ClickHouse has written them. Idempotent: ClickHouse skips a
 * token of the last 1,000 inserts, and the views keep one row per key in any case.
 *
 * @param rows - rows of one insert. 1,000 to 100,000 are efficient.
 * @param dedupToken - unique to these rows. ClickHouse drops a block with a known token, whatever its
 * content. Offsets are not unique: a recreated topic has other rows at the same offsets.
 * @throws {MillraceError} as {@link translateError}: retry while `retriable`, with the same token.
 */
export async function insertRows<T extends Table>(
  client: ClickHouseClient,
  table: T,
  rows: readonly RowsByTable[T][],
  dedupToken: string,
): Promise<void> {
  if (rows.length === 0) return;
  const values = rows.map((row): object => ('value' in row ? withBase64(row) : row));
  for (const [index, row] of values.entries()) refuseLostValues(table, row, index);
  try {
    await client.insert<object>({
      table: `millrace.${storageOf(table)}`,
      columns: columns[table],
      values,
      format: 'JSONEachRow',
      clickhouse_settings: {
        ...insertSettings(dedupToken),
        date_time_input_format: 'best_effort',
        input_format_skip_unknown_fields: 0,
        input_format_null_as_default: 0,
      },
    });
  } catch (error) {
    throw translateError(error, `insert ${rows.length} rows into ${table}`);
  }
}

/**
 * Inserts the rows of a batch: as {@link insertRows}. The batch must not change until then, or ever after an
 * error.
 */
export async function insertBatch(
  { client, insertColumns }: Pick<Analytics, 'client' | 'insertColumns'>,
  table: Table,
  batch: Batch,
  dedupToken: string,
): Promise<void> {
  const into = `millrace.${storageOf(table)}`;
  const settings = insertSettings(dedupToken);
  try {
    if (batch instanceof TextBatch) {
      await client.insert({
        table: into,
        columns: batch.columns.map(({ name }) => name) as [string, ...string[]],
        values: Readable.from([batch.toBytes()], { objectMode: false }),
        format: 'TabSeparated',
        clickhouse_settings: { ...settings, ...textSettings },
      });
    } else {
      await insertColumns?.({ table: into, columns: batch.toArrow(), settings });
    }
  } catch (error) {
    throw translateError(error, `insert ${batch.rows} rows into ${table}`);
  }
}

export type Batch = ColumnBatch | TextBatch;

/** Returns an empty batch, in the fastest form that its engine takes. */
export function newBatch(
  { insertColumns }: Pick<Analytics, 'insertColumns'>,
  batchColumns: readonly BatchColumn[],
): Batch {
  return insertColumns === undefined ? new TextBatch(batchColumns) : new ColumnBatch(batchColumns);
}

function insertSettings(dedupToken: string) {
  return {
    async_insert: 0 as const,
    insert_deduplicate: 1 as const,
    // An insert that reached only the table reaches its materialized view when it is repeated.
    deduplicate_blocks_in_dependent_materialized_views: 1 as const,
    // Rows of one key are merged later, as those of several inserts are: the views read with FINAL.
    optimize_on_insert: 0 as const,
    // Encoded, because chDB inserts it into SQL, where a backslash is an escape.
    insert_deduplication_token: encodeURIComponent(dedupToken),
  };
}

/** What a server's profile may have set otherwise. */
const textSettings = {
  date_time_input_format: 'basic',
  format_tsv_null_representation: String.raw`\N`,
  input_format_tsv_crlf_end_of_line: 0,
  input_format_tsv_empty_as_default: 0,
  input_format_tsv_enum_as_number: 0,
} as const;

/** Returns the table that stores the rows of a view. */
export function storageOf(table: Table): string {
  return `${table}_storage`;
}

/** Rejects NaN and missing values: JSON has null for NaN, and ClickHouse stores 0 for both. */
function refuseLostValues(table: Table, row: object, index: number): void {
  for (const column of columns[table]) {
    const value: unknown = Reflect.get(row, column);
    if (
      value === undefined ||
      (value === null && !nullable.has(column)) ||
      Number.isNaN(value) ||
      isInfinite(value)
    ) {
      throw new MillraceError(
        'CLICKHOUSE_BAD_ROWS',
        `Row ${index} for ${table} has ${String(value)} as its ${column}: nothing was inserted.`,
      );
    }
  }
}

function isInfinite(value: unknown): boolean {
  return value === Infinity || value === -Infinity;
}

/** JSON cannot contain bytes that are not UTF-8, so the table decodes base64 (see the migration). */
function withBase64({ key, value, ...rest }: DeadLetterRow): object {
  return { ...rest, key_base64: base64(key), value_base64: base64(value) };
}

function base64(bytes: Uint8Array | null): string | null {
  return bytes === null
    ? null
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
